"""Endpoints: keys, pins, weights, queues, time-outs, faults of replicas."""

import asyncio
import collections
import re
import signal
import subprocess
import sys
from pathlib import Path

from ultramarine_serving.gateway.replicas import pause_s
from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, echo, endpoint, until

SCORE = "/endpoints/default/cancer/score"


async def use_endpoint(gateway: Gateway, replicas: dict[str, list[str]], **different: object) -> None:
    await gateway.use(endpoints={"default/cancer": endpoint(replicas, **different)})


async def test_a_request_with_the_key_reaches_the_replica_without_it(gateway: Gateway, upstreams: Upstreams):
    server = await upstreams.start(echo)
    await use_endpoint(gateway, {"blue": [str(server.addresses[0])]})
    given = {"x-request-id": "my-1", "cookie": "a=b", "x-ultramarine-timeout-ms": "1"}
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE + "?a=b", content=b"[1]", headers=given)
    assert answer.status_code == 200
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert answer.headers["x-request-id"] == "my-1"
    seen = answer.json()
    headers = dict(seen["headers"])
    assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/score?a=b", "[1]")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"] == "my-1"
    assert headers["x-ultramarine-timeout-ms"] == "5000", "the deployment's own, whatever the client says"
    assert not {"authorization", "cookie", "connection"} & headers.keys()


async def test_no_key_is_401_and_a_wrong_key_is_403_and_both_say_what_to_do(gateway: Gateway, upstreams: Upstreams):
    await use_endpoint(gateway, {"blue": [await upstreams.replica()]})
    async with gateway.client() as client:
        without = await client.post(SCORE)
        wrong = await client.post(SCORE, headers={"authorization": "Bearer other"})
    assert (without.status_code, wrong.status_code) == (401, 403)
    assert without.headers["www-authenticate"].startswith("Bearer")
    for answer in (without, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert "um online-endpoint get-credentials" in answer.json()["hint"]


async def test_an_unknown_endpoint_and_an_unknown_tail_are_404(gateway: Gateway, upstreams: Upstreams):
    await use_endpoint(gateway, {"blue": [await upstreams.replica()]})
    async with gateway.client(headers=AUTHORIZED) as client:
        for path in ("/endpoints/default/other/score", "/endpoints/default/cancer/admin", "/endpoints/"):
            assert (await client.post(path)).status_code == 404


async def test_a_pin_goes_to_its_deployment_whatever_the_traffic_and_an_unknown_one_is_404(
    gateway: Gateway, upstreams: Upstreams
):
    replicas = {name: [await upstreams.replica(answer=name)] for name in ("blue", "green")}
    await use_endpoint(gateway, replicas, traffic={"blue": 100, "green": 0})
    async with gateway.client(headers=AUTHORIZED) as client:
        pinned = await client.post(SCORE, headers={"azureml-model-deployment": "green"})
        unknown = await client.post(SCORE, headers={"azureml-model-deployment": "red"})
    assert pinned.text == "green"
    assert unknown.status_code == 404
    assert "blue, green" in unknown.json()["hint"]


async def test_of_a_thousand_requests_exactly_the_weight_goes_to_each_deployment(
    gateway: Gateway, upstreams: Upstreams
):
    replicas = {name: [await upstreams.replica(answer=name)] for name in ("blue", "green", "red")}
    await use_endpoint(gateway, replicas, traffic={"blue": 87, "green": 10, "red": 3})
    request = (
        f"POST {SCORE} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer the-key\r\ncontent-length: 2\r\n\r\n[]".encode()
    )
    last = request.replace(b"host: a", b"host: a\r\nconnection: close")
    answers = await gateway.raw(request * 999 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 1000
    seen = collections.Counter(re.findall(rb"azureml-model-deployment: (\w+)", answers))
    assert seen == {b"blue": 870, b"green": 100, b"red": 30}


async def test_requests_are_spread_over_the_replicas_of_a_deployment(gateway: Gateway, upstreams: Upstreams):
    await use_endpoint(gateway, {"blue": [await upstreams.replica(answer=str(i)) for i in range(3)]})
    async with gateway.client(headers=AUTHORIZED) as client:
        seen = collections.Counter([(await client.post(SCORE)).text for _ in range(30)])
    assert seen == {"0": 10, "1": 10, "2": 10}


class Gate:
    """A replica that answers its probe, and everything else once it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.inside = 0
        self.inside_max = 0

    async def __call__(self, request: Request, /) -> Response:
        if request.path != "/":
            self.inside += 1
            self.inside_max = max(self.inside_max, self.inside)
            try:
                await self.opened.wait()
            finally:
                self.inside -= 1
        return Response(body=b"done")


async def test_a_full_queue_is_429_and_those_in_the_queue_are_answered(gateway: Gateway, upstreams: Upstreams):
    gate = Gate()
    server = await upstreams.start(gate)
    replicas = {"blue": [str(server.addresses[0])]}
    await use_endpoint(gateway, replicas, max_concurrent=2, queue_max=3, queue_wait_s=10.0, request_timeout_s=20.0)
    async with gateway.client(headers=AUTHORIZED) as client:
        waiting = [asyncio.create_task(client.post(SCORE)) for _ in range(5)]

        async def queue_is_full() -> bool:
            endpoint = (await gateway.status())["endpoints"]["default/cancer"]
            return (endpoint["in_flight"], endpoint["queued"], endpoint["requests"]) == (2, 3, 5)

        await until(queue_is_full)
        refused = await client.post(SCORE)
        gate.opened.set()
        answers = await asyncio.gather(*waiting)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in answers] == [200] * 5
    assert gate.inside_max == 2
    assert (await gateway.status())["endpoints"]["default/cancer"]["in_flight"] == 0


async def test_a_request_that_waits_too_long_in_the_queue_is_429(gateway: Gateway, upstreams: Upstreams):
    gate = Gate()
    server = await upstreams.start(gate)
    await use_endpoint(gateway, {"blue": [str(server.addresses[0])]}, max_concurrent=1, queue_wait_s=0.1)
    async with gateway.client(headers=AUTHORIZED) as client:
        first = asyncio.create_task(client.post(SCORE))
        await until(lambda: gate.inside)
        second = await client.post(SCORE)
        gate.opened.set()
        assert (await first).status_code == 200
    assert second.status_code == 429
    assert "0.1 s" in second.json()["detail"]


async def test_a_replica_that_does_not_answer_in_time_is_504(gateway: Gateway, upstreams: Upstreams):
    gate = Gate()
    server = await upstreams.start(gate)
    await use_endpoint(gateway, {"blue": [str(server.addresses[0])]}, request_timeout_s=0.1)
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE)
    assert answer.status_code == 504
    await until(lambda: gate.inside == 0)  # the replica is told that nobody waits any more


async def test_a_client_that_goes_frees_its_place_at_the_replica(gateway: Gateway, upstreams: Upstreams):
    gate = Gate()
    server = await upstreams.start(gate)
    await use_endpoint(gateway, {"blue": [str(server.addresses[0])]}, request_timeout_s=60.0)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
    writer.write(
        f"POST {SCORE} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer the-key\r\ncontent-length: 0\r\n\r\n".encode()
    )
    await until(lambda: gate.inside == 1)
    writer.close()
    await until(lambda: gate.inside == 0)

    async def is_free() -> bool:
        status = await gateway.status()
        return status["endpoints"]["default/cancer"]["in_flight"] == status["replicas"]["blue-0"]["in_flight"] == 0

    await until(is_free)


async def test_a_body_over_the_endpoints_limit_is_413(gateway: Gateway, upstreams: Upstreams):
    await use_endpoint(gateway, {"blue": [await upstreams.replica()]}, body_max_bytes=1000)

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    async with gateway.client(headers=AUTHORIZED) as client:
        assert (await client.post(SCORE, content=b"x" * 1000)).status_code == 200
        assert (await client.post(SCORE, content=b"x" * 1001)).status_code == 413
        assert (await client.post(SCORE, content=chunks())).status_code == 413


async def test_without_any_replica_that_answers_it_is_503_and_says_why(gateway: Gateway, folder: Path):
    gateway.write(endpoints={"default/cancer": endpoint({"blue": [f"unix:{folder}/none.sock"]}, queue_wait_s=0.05)})
    await gateway.admin("POST", "/table")
    async with gateway.client(headers=AUTHORIZED) as client:
        answer = await client.post(SCORE)
    assert answer.status_code == 503
    assert "blue-0: connect failed: there is no such socket" in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_a_request_waits_in_the_queue_for_the_first_replica_to_come_up(
    gateway: Gateway, upstreams: Upstreams, folder: Path
):
    address = f"unix:{folder}/late.sock"
    gateway.write(endpoints={"default/cancer": endpoint({"blue": [address]}, queue_wait_s=10.0)})
    await gateway.admin("POST", "/table")
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE))

        async def is_queued() -> bool:
            return (await gateway.status())["endpoints"]["default/cancer"]["queued"] == 1

        await until(is_queued)
        await upstreams.replica("late.sock", answer="late")
        assert (await asked).text == "late"


def test_one_that_loads_is_found_within_a_tenth_of_its_load_and_one_that_never_answers_is_asked_seldom():
    assert [pause_s(asked_s) for asked_s in (0, 0.2, 2, 60, 600)] == [0.05, 0.05, 0.2, 5, 5]


async def test_a_replica_is_used_only_after_its_probe_was_answered_200(gateway: Gateway, upstreams: Upstreams):
    ready = asyncio.Event()

    def handler(request: Request, /) -> Response:
        return Response(200 if ready.is_set() or request.path != "/" else 503, body=b"ok")

    server = await upstreams.start(handler)
    gateway.write(endpoints={"default/cancer": endpoint({"blue": [str(server.addresses[0])]}, queue_wait_s=0.0)})
    await gateway.admin("POST", "/table")
    async with gateway.client(headers=AUTHORIZED) as client:

        async def says_why() -> bool:
            return "answered 503" in (await gateway.status())["replicas"]["blue-0"]["why"]

        await until(says_why)
        assert (await client.post(SCORE)).status_code == 503
        ready.set()

        async def answers() -> bool:
            return (await client.post(SCORE)).status_code == 200

        await until(answers)


async def test_a_replica_that_refuses_is_taken_out_and_its_request_goes_to_another(
    gateway: Gateway, upstreams: Upstreams
):
    gone = await upstreams.start(lambda request: Response(body=b"gone"))
    stays = await upstreams.replica(answer="stays")
    await use_endpoint(gateway, {"blue": [str(gone.addresses[0]), stays]})
    await gone.drain(0)
    async with gateway.client(headers=AUTHORIZED) as client:
        answers = [await client.post(SCORE) for _ in range(10)]
    assert {answer.text for answer in answers} == {"stays"}
    replicas = (await gateway.status())["replicas"]
    assert (replicas["blue-0"]["state"], replicas["blue-1"]["state"]) == ("down", "up")
    assert "connect" in replicas["blue-0"]["why"]


REPLICA = """
import asyncio, sys
from ultramarine_serving.http.server import Address, Response, serve

async def answer(request):
    if request.path == "/":
        return Response(body=b"ok")
    await asyncio.sleep(3600)

async def main():
    await serve(answer, listeners=[Address.parse(sys.argv[1])])
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_a_request_that_was_sent_is_not_sent_again_when_its_replica_is_killed(
    gateway: Gateway, upstreams: Upstreams, folder: Path
):
    calls: list[str] = []

    def other(request: Request, /) -> Response:
        calls.append(request.path)
        return Response(body=b"other")

    server = await upstreams.start(other)
    address = f"unix:{folder}/killed.sock"
    source = str(Path(__file__).parents[3] / "src")
    victim = subprocess.Popen([sys.executable, "-c", REPLICA, address], env={"PYTHONPATH": source})  # noqa: ASYNC220
    try:
        await use_endpoint(gateway, {"blue": [address], "green": [str(server.addresses[0])]}, request_timeout_s=30.0)
        async with gateway.client(headers=AUTHORIZED) as client:
            asked = asyncio.create_task(client.post(SCORE, headers={"azureml-model-deployment": "blue"}))

            async def is_there() -> bool:
                return (await gateway.status())["replicas"]["blue-0"]["in_flight"] == 1

            await until(is_there)
            victim.send_signal(signal.SIGKILL)
            answer = await asked
            assert answer.status_code == 502
            assert "/score" not in calls
            rest = [await client.post(SCORE) for _ in range(10)]
            assert {each.text for each in rest} == {"other"}  # a deployment that is down gets no traffic
    finally:
        victim.kill()
        victim.wait()


async def test_garbage_from_a_replica_is_502(gateway: Gateway, folder: Path):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        good = asked.startswith(b"GET / ")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" if good else b"\x00\xff what\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, folder / "bad.sock")
    await use_endpoint(gateway, {"blue": [f"unix:{folder}/bad.sock"]})
    async with gateway.client(headers=AUTHORIZED) as client:
        assert (await client.post(SCORE, content=b"[]")).status_code == 502
    server.close()
