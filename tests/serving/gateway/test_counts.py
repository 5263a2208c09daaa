"""What is counted of each deployment, for those who plan by it."""

import asyncio
from typing import Any

from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint, until

SCORE = "/endpoints/default/cancer/score"


async def counts(gateway: Gateway, name: str = "blue") -> dict[str, Any]:
    return (await gateway.status())["endpoints"]["default/cancer"]["deployments"][name]


async def test_each_request_counts_once_by_its_answer(gateway: Gateway, upstreams: Upstreams):
    go_on = asyncio.Event()

    async def handler(request: Request, /) -> Response:
        if request.path == "/":
            return Response()
        asked = request.body.decode()
        if asked == "wait":
            await go_on.wait()
        return Response(int(asked) if asked.isdigit() else 200)

    server = await upstreams.start(handler)
    replicas = {"blue": [str(server.addresses[0])]}
    await gateway.use(endpoints={"default/cancer": endpoint(replicas, request_timeout_s=0.3)})
    before = await counts(gateway)
    async with gateway.client(headers=AUTHORIZED) as client:
        for status in (200, 201, 404, 500):
            assert (await client.post(SCORE, content=str(status))).status_code == status
        assert (await client.post(SCORE, content="wait")).status_code == 504
        patient = endpoint(replicas, max_concurrent=5, queue_max=0, request_timeout_s=60)
        await gateway.use(endpoints={"default/cancer": patient})
        assert (await client.post(SCORE, headers={"authorization": "Bearer other"})).status_code == 403
        waiting = [asyncio.create_task(client.post(SCORE, content="wait")) for _ in range(5)]

        async def all_places_are_taken() -> bool:
            return (await counts(gateway))["in_flight"] == 5

        await until(all_places_are_taken)
        assert (await client.post(SCORE)).status_code == 429
        waiting[0].cancel()

        async def one_has_gone() -> bool:
            return (await counts(gateway))["answers"]["499"] == before["answers"]["499"] + 1

        await until(one_has_gone)
        go_on.set()
        await asyncio.gather(*waiting, return_exceptions=True)

        async def all_are_answered() -> bool:
            now = await counts(gateway)
            return sum(now["answers"].values()) == now["requests"]

        await until(all_are_answered)
    after = await counts(gateway)
    gone = {code: after["answers"][code] - before["answers"][code] for code in after["answers"]}
    assert gone == {"2xx": 6, "4xx": 1, "429": 1, "5xx": 2, "499": 1}
    assert after["requests"] - before["requests"] == 11
    assert (after["in_flight"], after["queued"], after["held"], after["up"]) == (0, 0, 0, 1)
    seconds = after["seconds"]
    assert sum(seconds["counts"]) == sum(after["answers"].values())
    assert len(seconds["counts"]) == len(seconds["bounds"]) + 1
    assert seconds["sum"] > 0.3


async def test_counts_outlive_a_new_table_and_go_with_their_deployment(gateway: Gateway, upstreams: Upstreams):
    replicas = {name: [await upstreams.replica()] for name in ("red", "green")}
    await gateway.use(endpoints={"default/cancer": endpoint(replicas)})
    async with gateway.client(headers=AUTHORIZED) as client:
        for _ in range(4):
            await client.post(SCORE)
    await gateway.use(endpoints={"default/cancer": endpoint({"red": replicas["red"]})})
    assert (await counts(gateway, "red"))["requests"] == 2
    await gateway.use(endpoints={"default/cancer": endpoint(replicas)})
    assert (await counts(gateway, "green"))["requests"] == 0
