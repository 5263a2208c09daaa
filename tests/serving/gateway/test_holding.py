"""Requests to a deployment that has no replica yet: held, told of, answered or refused."""

import asyncio
import json
from typing import Any

import httpx

from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint, until

SCORE = "/endpoints/default/cancer/score"


class Control:
    """A control plane that is told what is held."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []

    def __call__(self, request: Request, /) -> Response:
        assert (request.method, request.path) == ("POST", "/internal/held")
        self.told.append(json.loads(request.body))
        return Response(204)


async def use(gateway: Gateway, upstreams: Upstreams, control: Control, **different: Any) -> None:
    """An endpoint whose one deployment is asleep."""
    authorizer = str((await upstreams.start(control)).addresses[0])
    endpoints = {"default/cancer": endpoint({"blue": []}, **({"hold_s": 60} | different))}
    await gateway.use(endpoints=endpoints, authorizer=authorizer)


async def counts(gateway: Gateway) -> dict[str, Any]:
    return (await gateway.status())["endpoints"]["default/cancer"]["deployments"]["blue"]


async def test_a_held_request_is_answered_by_the_first_replica(gateway: Gateway, upstreams: Upstreams):
    control = Control()
    await use(gateway, upstreams, control)
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = [asyncio.create_task(client.post(SCORE)) for _ in range(20)]

        async def all_are_held() -> bool:
            return (await counts(gateway))["held"] == 20

        await until(all_are_held)
        await until(lambda: len(control.told) > 1)  # again and again, as long as they wait
        assert (await counts(gateway))["queued"] == 0
        replica = await upstreams.replica(answer="first")
        await gateway.use(endpoints={"default/cancer": endpoint({"blue": [replica]}, hold_s=60, max_concurrent=2)})
        answers = await asyncio.gather(*asked)
    assert {answer.text for answer in answers} == {"first"}
    assert {json.dumps(each) for each in control.told} == {'{"endpoint": "default/cancer", "deployment": "blue"}'}
    assert (await counts(gateway))["held"] == 0


async def test_held_longer_than_the_deployment_allows_is_503_with_retry_after(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, Control(), hold_s=0.2)
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "blue has no replica yet" in answer.json()["detail"]
    assert (await counts(gateway))["answers"]["5xx"] == 1


async def test_a_client_that_does_not_want_to_wait_wakes_the_deployment_all_the_same(
    gateway: Gateway, upstreams: Upstreams
):
    control = Control()
    await use(gateway, upstreams, control)
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE, headers={"X-Scale-Up-Timeout": "0"})
    assert answer.status_code == 503
    await until(lambda: control.told)


async def test_a_client_may_wait_longer_than_the_deployment_says(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, Control(), hold_s=0.001)
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE, headers={"x-scale-up-timeout": "30"}))

        async def is_held() -> bool:
            return (await counts(gateway))["held"] == 1

        await until(is_held)
        await gateway.use(endpoints={"default/cancer": endpoint({"blue": [await upstreams.replica()]}, hold_s=0.001)})
        assert (await asked).status_code == 200


async def test_a_time_out_that_is_none_is_400(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, Control())
    async with gateway.client(headers=AUTHORIZED) as client:
        for said in ("soon", "-1", "nan"):
            answer = await client.post(SCORE, headers={"X-Scale-Up-Timeout": said})
            assert (answer.status_code, said in answer.json()["detail"]) == (400, True)


async def test_no_more_than_the_queue_allows_are_held(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, Control(), queue_max=2)
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = [asyncio.create_task(client.post(SCORE)) for _ in range(2)]

        async def both_are_held() -> bool:
            return (await counts(gateway))["held"] == 2

        await until(both_are_held)
        assert (await client.post(SCORE)).status_code == 503
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_a_held_client_that_goes_is_held_no_longer(gateway: Gateway, upstreams: Upstreams):
    await use(gateway, upstreams, Control())
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE))

        async def is_held(many: int) -> bool:
            return (await counts(gateway))["held"] == many

        await until(lambda: is_held(1))
        asked.cancel()
        await until(lambda: is_held(0))
    assert (await counts(gateway))["answers"]["499"] == 1


async def test_without_a_control_plane_requests_are_held_as_well(gateway: Gateway, upstreams: Upstreams):
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": []}, hold_s=60)}, authorizer="unix:/none.sock")
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE))
        await until(lambda: "could not be told" in (gateway.folder / "log.txt").read_text())
        await gateway.use(endpoints={"default/cancer": endpoint({"blue": [await upstreams.replica()]}, hold_s=60)})
        assert (await asked).status_code == 200


async def test_a_deployment_that_sleeps_keeps_its_share_of_the_traffic(gateway: Gateway, upstreams: Upstreams):
    """Else nothing would wake it."""
    control = Control()
    authorizer = str((await upstreams.start(control)).addresses[0])
    both = endpoint({"blue": [await upstreams.replica()], "green": []}, hold_s=0.05)
    await gateway.use(endpoints={"default/cancer": both}, authorizer=authorizer)
    async with gateway.client(headers=AUTHORIZED) as client:
        answers: list[httpx.Response] = [await client.post(SCORE) for _ in range(4)]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    assert {each["deployment"] for each in control.told} == {"green"}
