"""Replicas that fail: which are left alone, and what is sent again."""

import asyncio
import collections
from typing import Any

import pytest

from ultramarine_serving.gateway.budget import Budget
from ultramarine_serving.gateway.endpoints import EndpointState
from ultramarine_serving.gateway.exchange import Exchange
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.served import endpoint_of
from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint, until

SCORE = "/endpoints/default/cancer/score"


async def hang(request: Request, /) -> Response:
    """Answers its probe, and nothing else."""
    if request.path != "/":
        await asyncio.Event().wait()
    return Response()


class Breaking:
    """A replica that breaks off every request, as raw bytes: it answers its probe alone."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET / "):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            self.asked += 1
        writer.close()


async def replica(gateway: Gateway, name: str) -> dict[str, Any]:
    return (await gateway.status())["replicas"][name]


class Hanging:
    """A replica whose first call hangs until it is let go, which it says to whoever probes it."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def __call__(self, request: Request, /) -> Response:
        hangs = self.asked > 0 and not self.go.is_set()
        if request.path == "/":
            return Response(503 if hangs else 200)
        self.asked += 1
        await self.go.wait()
        return Response()


async def test_a_replica_that_hangs_says_so_when_it_is_asked_and_is_left_out_until_it_returns(
    gateway: Gateway, upstreams: Upstreams
):
    hanging = Hanging()
    addresses = [str((await upstreams.start(hanging)).addresses[0]), await upstreams.replica(answer="good")]
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": addresses}, request_timeout_s=0.1)})
    async with gateway.client(headers=AUTHORIZED) as client:

        async def is_out() -> bool:
            await client.post(SCORE)
            return (await replica(gateway, "blue-0"))["state"] == "down"

        await until(is_out)
        asked = hanging.asked
        assert [(await client.post(SCORE)).status_code for _ in range(20)] == [200] * 20
        assert hanging.asked == asked
        hanging.go.set()

        async def is_back() -> bool:
            return (await replica(gateway, "blue-0"))["state"] == "up"

        await until(is_back)


async def test_a_replica_that_answers_its_probe_but_no_request_is_left_alone(gateway: Gateway, upstreams: Upstreams):
    hanging = str((await upstreams.start(hang)).addresses[0])
    good = [await upstreams.replica(answer="good") for _ in range(2)]
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": [hanging, *good]}, request_timeout_s=0.05)})
    async with gateway.client(headers=AUTHORIZED) as client:

        async def is_left_alone() -> bool:
            await client.post(SCORE)
            return (await replica(gateway, "blue-0"))["state"] == "ejected"

        await until(is_left_alone)
        assert "5 requests in a row" in (await replica(gateway, "blue-0"))["why"]
        assert (await replica(gateway, "blue-0"))["errors"] == 5

        async def is_tried_again() -> bool:
            await client.post(SCORE)
            return (await replica(gateway, "blue-0"))["errors"] == 6

        await until(is_tried_again)
        assert "for 2 s" in (await replica(gateway, "blue-0"))["why"]  # one failure was enough, and for longer
        answers = [await client.post(SCORE) for _ in range(10)]
    assert {answer.text for answer in answers} == {"good"}


async def test_where_most_replicas_fail_none_is_left_alone_in_a_hurry(gateway: Gateway, upstreams: Upstreams):
    hanging = [str((await upstreams.start(hang)).addresses[0]) for _ in range(2)]
    table = endpoint({"blue": hanging[:1]}, request_timeout_s=0.1)
    await gateway.use(endpoints={"default/cancer": table})
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.post(SCORE) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {504}
        assert (await replica(gateway, "blue-0"))["state"] == "up"
        await gateway.use(endpoints={"default/cancer": endpoint({"green": hanging}, request_timeout_s=0.1)})
        for _ in range(20):
            await client.post(SCORE)
    states = collections.Counter([(await replica(gateway, f"green-{i}"))["state"] for i in range(2)])
    assert states == {"up": 1, "ejected": 1}


@pytest.mark.parametrize("is_idempotent", [False, True])
async def test_what_was_sent_is_sent_again_only_where_the_table_allows_it(
    gateway: Gateway, upstreams: Upstreams, is_idempotent: bool
):
    breaking = Breaking()
    path = gateway.folder / f"breaking-{is_idempotent}.sock"
    server = await asyncio.start_unix_server(breaking, path)
    replicas = [f"unix:{path}", await upstreams.replica(answer="good")]
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": replicas}, idempotent=is_idempotent)})
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.post(SCORE, content="[1]") for _ in range(2)]
    assert sorted(answer.status_code for answer in answers) == ([200, 200] if is_idempotent else [200, 502])
    assert breaking.asked >= 1
    server.close()


async def test_a_get_is_sent_again(gateway: Gateway, upstreams: Upstreams):
    breaking = Breaking()
    path = gateway.folder / "breaking-get.sock"
    server = await asyncio.start_unix_server(breaking, path)
    replicas = [f"unix:{path}", await upstreams.replica(answer="good")]
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": replicas})})
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.get("/endpoints/default/cancer/swagger.json") for _ in range(2)]
    assert [answer.text for answer in answers] == ["good", "good"]
    assert breaking.asked >= 1
    server.close()


async def test_what_breaks_every_replica_is_not_sent_for_ever(gateway: Gateway):
    breaking = Breaking()
    path = gateway.folder / "breaking-all.sock"
    server = await asyncio.start_unix_server(breaking, path)
    table = endpoint({"blue": [f"unix:{path}"]}, idempotent=True, queue_wait_s=5.0)
    await gateway.use(endpoints={"default/cancer": table})
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE, content="[1]")
    assert answer.status_code == 502
    assert breaking.asked == 3
    server.close()


async def test_replicas_that_take_no_connections_are_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch):
    """As those would be that are up again whenever they are looked at."""

    def nothing(self: ReplicaState, why: str = "") -> None:
        pass

    monkeypatch.setattr(ReplicaState, "probe", nothing)
    monkeypatch.setattr(ReplicaState, "take_out", nothing)
    state = EndpointState("default/cancer", on_held=lambda endpoint, deployment: None)
    state.update(endpoint_of("default/cancer", endpoint({"blue": ["unix:/none.sock"]}), ca=None), worker=0, workers=1)
    blue = state.deployments["blue"]
    blue.is_up = blue.replicas["blue-0"].is_up = True
    answer = await Exchange(Request("POST", SCORE, []), state, b"", path="", id=b"1").run()
    assert answer.status == 503
    assert (blue.in_flight, blue.counts.answers["5xx"]) == (0, 1)


def test_second_tries_are_a_fifth_of_the_requests_and_ten_at_once():
    budget = Budget()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(6):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(12)].count(True) in (10, 11)
