"""Copies of requests for a deployment beside: how many, that they harm nothing, and how their answers compare."""

import asyncio
import collections
import json
from typing import Any

import pytest

from ultramarine_serving.gateway.agreement import agree
from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint, until

SCORE = "/endpoints/default/cancer/score"


async def mirrored(gateway: Gateway) -> dict[str, Any]:
    endpoint = (await gateway.status())["endpoints"]["default/cancer"]
    return endpoint["deployments"]["green"]["mirrored"]


class Beside:
    """A replica that keeps what it was asked, and answers it with `answer`."""

    def __init__(self, answer: bytes = b"[1.0]", status: int = 200) -> None:
        self.asked: list[Request] = []
        self._answer = answer
        self._status = status

    def __call__(self, request: Request, /) -> Response:
        if request.path == "/":
            return Response()
        self.asked.append(request)
        return Response(self._status, body=self._answer)


async def use(gateway: Gateway, upstreams: Upstreams, beside: Any, *, percent: int = 100, **different: Any) -> None:
    """Blue gets all the traffic and answers `[1.0]`; green gets copies."""
    replicas = {
        "blue": [await upstreams.replica(answer="[1.0]")],
        "green": [str((await upstreams.start(beside)).addresses[0])],
    }
    mirroring = {"traffic": {"blue": 100}, "mirror": {"green": percent}}
    await gateway.use()
    await gateway.use(endpoints={"default/cancer": endpoint(replicas, **mirroring, **different)})


async def test_of_a_thousand_requests_exactly_the_share_is_copied_and_compared(gateway: Gateway, upstreams: Upstreams):
    beside = Beside(b"[1.0000001]")
    await use(gateway, upstreams, beside, percent=10)
    one = f"POST {SCORE}?a=b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer the-key\r\ncontent-length: 3\r\n\r\n[7]"
    last = one.replace("host: a", "host: a\r\nconnection: close")
    answers = await gateway.raw((one * 999 + last).encode())
    assert answers.count(b"HTTP/1.1 200 OK") == 1000
    assert answers.count(b"azureml-model-deployment: blue") == 1000

    async def all_are_compared() -> bool:
        return (await mirrored(gateway))["compared"] == 100

    await until(all_are_compared)
    figures = await mirrored(gateway)
    assert (figures["agreed"], figures["failed"], figures["dropped"]) == (100, 0, 0)
    assert sum(figures["seconds"]["counts"]) == 100
    assert len(beside.asked) == 100
    asked = beside.asked[0]
    assert (asked.target, asked.body) == ("/score?a=b", b"[7]")
    assert asked.header(b"azureml-model-deployment") == b"green"
    assert asked.header(b"x-ultramarine-mirrored") == b"true"
    assert not asked.header(b"authorization")
    deployments = (await gateway.status())["endpoints"]["default/cancer"]["deployments"]
    assert (deployments["blue"]["requests"], deployments["green"]["requests"]) == (1000, 0)


@pytest.mark.parametrize(
    ("beside", "figures"),
    [
        (Beside(b"[2.0]"), {"compared": 1, "agreed": 0, "failed": 0}),
        (Beside(b"[1.0]", status=201), {"compared": 1, "agreed": 0, "failed": 0}),
        (Beside(b"[1.0]", status=500), {"compared": 0, "agreed": 0, "failed": 1}),
    ],
)
async def test_what_differs_does_not_agree_and_a_fault_is_a_failure(
    gateway: Gateway, upstreams: Upstreams, beside: Beside, figures: dict[str, int]
):
    await use(gateway, upstreams, beside)
    async with gateway.client(headers=AUTHORIZED) as client:
        assert (await client.post(SCORE, content="[7]")).text == "[1.0]"

    async def is_counted() -> bool:
        return collections.Counter(figures).items() <= (await mirrored(gateway)).items()

    await until(is_counted)


async def test_a_deployment_beside_that_hangs_delays_nothing_and_costs_a_bounded_number(
    gateway: Gateway, upstreams: Upstreams
):
    never = asyncio.Event()

    async def hang(request: Request, /) -> Response:
        if request.path != "/":
            await never.wait()
        return Response()

    await use(gateway, upstreams, hang, max_concurrent=500, request_timeout_s=60)
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.post(SCORE, content="[7]") for _ in range(50)]
    assert {answer.text for answer in answers} == {"[1.0]"}
    assert (await mirrored(gateway))["dropped"] == 18
    green = (await gateway.status())["endpoints"]["default/cancer"]["deployments"]["green"]
    assert green["in_flight"] == 32
    never.set()


async def test_without_a_replica_beside_requests_are_answered_and_copies_dropped(
    gateway: Gateway, upstreams: Upstreams
):
    told: list[Any] = []

    def control(request: Request, /) -> Response:
        told.append(json.loads(request.body))
        return Response(204)

    authorizer = str((await upstreams.start(control)).addresses[0])
    both = endpoint({"blue": [await upstreams.replica()], "green": []}, traffic={"blue": 100}, hold_s=60)
    await gateway.use()
    await gateway.use(endpoints={"default/cancer": both | {"mirror": {"green": 50}}}, authorizer=authorizer)
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.post(SCORE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert (await mirrored(gateway))["dropped"] == 2
    await until(lambda: told)  # it is woken
    assert told[0]["deployment"] == "green"


async def test_a_client_cannot_pass_for_a_copy_and_pinned_requests_are_not_copied(
    gateway: Gateway, upstreams: Upstreams
):
    beside = Beside()
    await use(gateway, upstreams, beside)
    async with gateway.client(headers=AUTHORIZED) as client:
        await client.post(SCORE, headers={"azureml-model-deployment": "green", "x-ultramarine-mirrored": "true"})
        await client.get(SCORE)
    assert [request.header(b"x-ultramarine-mirrored") for request in beside.asked] == [b""]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a": [1, 2.0]}', b'{"a":[1.0,2.0000001]}', True),
        (b"[1]", b"[1.00001]", False),
        (b"[NaN]", b"[ NaN]", True),
        (b"[true]", b"[1]", False),
        (b'{"a": 1}', b'{"b": 1}', False),
        (b"[1, 2]", b"[1]", False),
        (b'["x"]', b'[ "x"]', True),
        (b"plain", b"plain", True),
        (b"plain", b"plan", False),
        (b"[" * 100_000, b"[" * 100_001, False),
    ],
)
def test_answers_agree_where_their_json_does(one: bytes, other: bytes, same: bool):
    assert agree(one, other) is same
