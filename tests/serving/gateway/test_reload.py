"""The table: taken over whole or not at all, under load, by every worker; and how the processes end."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint, site, until

SCORE = "/endpoints/default/cancer/score"
REQUEST = f"POST {SCORE} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer the-key\r\ncontent-length: 2\r\n\r\n[]".encode()


class Load:
    """Closed-loop clients on connections of their own; every status they get is kept."""

    def __init__(self, gateway: Gateway, *, clients: int = 4) -> None:
        self._gateway = gateway
        self._clients = clients
        self.statuses: list[int] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._client(stop)) for _ in range(self._clients)]
        yield
        stop.set()
        await asyncio.gather(*tasks)

    async def _client(self, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.ports["api"])
        while not stop.is_set():
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            self.statuses.append(int(head.split(b" ", 2)[1]))
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()


async def test_thirty_reloads_under_load_drop_nothing(gateway: Gateway, upstreams: Upstreams):
    addresses = [await upstreams.replica(answer=str(i)) for i in range(4)]
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": addresses[:1]})})
    load = Load(gateway)
    async with load.running():
        for turn in range(30):
            green = {"green": addresses[2 + turn % 2 :]} if turn % 3 else {}
            replicas = {"blue": addresses[turn % 2 : 2], **green}
            await gateway.use(endpoints={"default/cancer": endpoint(replicas, queue_wait_s=5.0)})
    assert len(load.statuses) > 100
    assert set(load.statuses) == {200}


async def test_what_is_in_flight_at_a_replica_that_leaves_the_table_ends_normally(
    gateway: Gateway, upstreams: Upstreams
):
    go_on = asyncio.Event()
    inside = asyncio.Event()

    async def slow(request: Request, /) -> Response:
        if request.path != "/":
            inside.set()
            await go_on.wait()
        return Response(body=b"old")

    old = await upstreams.start(slow)
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": [str(old.addresses[0])]})})
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE))
        await inside.wait()
        await gateway.use(endpoints={"default/cancer": endpoint({"blue": [await upstreams.replica(answer="new")]})})
        assert (await client.post(SCORE)).text == "new"
        go_on.set()
        assert (await asked).text == "old"


def table_of(**different: object) -> bytes:
    endpoints = {"default/cancer": endpoint({"blue": []}, **different)}
    return json.dumps({"format": 3, "version": 9, "endpoints": endpoints}).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "no JSON"),
        (b'{"format": 2, "version": 9}', "table.format is 2"),
        (b'{"format": 3, "version": 9, "sties": []}', "unknown fields: sties"),
        (b'{"format": 3, "version": 9, "sites": [{"listener": "api", "prefix": "api"}]}', "sites[0] has no 'upstream'"),
        (table_of(mirror={"green": 10}), "unknown fields: green"),
        (table_of(mirror={"blue": 101}), "at most 100 percent"),
        (table_of(request_timeout_s=0), "request_timeout_s must be a number of at least 0.001"),
        (table_of(auth_mode="none"), "one of key, aml_token"),
        (table_of(auth_mode="aml_token"), "authorizer must be given"),
        (table_of(idempotent=1), "idempotent must be true or false"),
    ],
)
async def test_a_table_that_is_not_right_is_refused_whole_and_the_old_one_stays(
    gateway: Gateway, upstreams: Upstreams, data: bytes, why: str
):
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": [await upstreams.replica()]})})
    version = (await gateway.status())["version"]
    gateway.write_bytes(data)
    answer = await gateway.admin("POST", "/table")
    assert answer.status_code == 422
    assert why in answer.json()["error"]
    assert (await gateway.status())["version"] == version
    async with gateway.client(headers=AUTHORIZED) as client:
        assert (await client.post(SCORE)).status_code == 200


async def test_who_waits_at_a_deployment_that_leaves_the_table_is_given_to_another(
    gateway: Gateway, upstreams: Upstreams, folder: Path
):
    await gateway.use(endpoints={"default/cancer": endpoint({"blue": []}, queue_wait_s=10.0)})
    async with gateway.client(headers=AUTHORIZED) as client:
        asked = asyncio.create_task(client.post(SCORE))
        pinned = asyncio.create_task(client.post(SCORE, headers={"azureml-model-deployment": "blue"}))

        async def wait() -> bool:
            return (await gateway.status())["endpoints"]["default/cancer"]["queued"] == 2

        await until(wait)
        await gateway.use(endpoints={"default/cancer": endpoint({"green": [await upstreams.replica(answer="green")]})})
        assert (await asked).text == "green"
        assert (await pinned).status_code == 404


async def test_a_new_table_is_noticed_without_being_told(gateway: Gateway, upstreams: Upstreams):
    gateway.write(sites=[site("/api/", await upstreams.start(lambda request: Response(body=b"noticed")))])
    async with gateway.client() as client:

        async def is_noticed() -> bool:
            return (await client.get("/api/")).text == "noticed"

        await until(is_noticed)


async def test_every_request_is_in_the_access_log_without_its_query(gateway: Gateway, folder: Path):
    log = folder / "access.jsonl"
    await gateway.use(access_log=str(log))
    async with gateway.client() as client:
        await client.get("/healthz?secret=1")
        await client.get("/nowhere")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/healthz", 200),
        ("GET", "/nowhere", 404),
    ]
    gateway.write(access_log=str(folder / "none" / "access.jsonl"))
    assert "No such file" in (await gateway.admin("POST", "/table")).json()["error"]


async def test_the_admin_socket_is_for_its_owner_only(gateway: Gateway):
    assert (gateway.folder / "admin-0.sock").stat().st_mode & 0o077 == 0
    assert (await gateway.admin("GET", "/other")).status_code == 404


@contextlib.asynccontextmanager
async def workers(folder: Path, count: int) -> AsyncGenerator[Gateway, None]:
    made = Gateway(folder, workers=count)
    made.start()
    try:
        yield made
    finally:
        made.stop()


async def _pids(gateway: Gateway) -> set[int]:
    return {(await gateway.status(worker=i))["pid"] for i in range(gateway.workers)}


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the second: it ended while this was read
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_several_workers_share_the_port_and_a_killed_one_comes_again(folder: Path, upstreams: Upstreams):
    async with workers(folder, 2) as gateway:
        await gateway.use(endpoints={"default/cancer": endpoint({"blue": [await upstreams.replica()]})})
        before = await _pids(gateway)
        assert len(before) == 2
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                client = await stack.enter_async_context(gateway.client(headers=AUTHORIZED))
                assert (await client.post(SCORE)).status_code == 200
        counts = [(await gateway.status(worker=i))["endpoints"]["default/cancer"]["requests"] for i in range(2)]
        assert sum(counts) == 20
        assert min(counts) > 0
        os.kill(min(before), signal.SIGKILL)

        async def is_replaced() -> bool:
            with contextlib.suppress(Exception):
                return len(await _pids(gateway)) == 2 and min(before) not in await _pids(gateway)
            return False

        await until(is_replaced)


async def test_no_worker_outlives_a_killed_parent(folder: Path):
    async with workers(folder, 2) as gateway:
        pids = await _pids(gateway)
        gateway.process.kill()
        await until(lambda: not any(_is_alive(pid) for pid in pids))


async def test_sigterm_lets_what_is_under_way_end(folder: Path, upstreams: Upstreams):
    go_on, inside = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, /) -> Response:
        inside.set()
        await go_on.wait()
        return Response(body=b"done")

    async with workers(folder, 1) as gateway:
        await gateway.use(sites=[site("/api/", await upstreams.start(slow))])
        async with gateway.client() as client, gateway.client() as idle:
            await idle.get("/healthz")
            asked = asyncio.create_task(client.get("/api/"))
            await inside.wait()
            gateway.process.terminate()

            async def refuses() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["api"])
                except ConnectionRefusedError:
                    return True
                writer.close()
                return False

            await until(refuses)
            go_on.set()
            answer = await asked
            assert (answer.text, answer.headers["connection"]) == ("done", "close")
        await until(lambda: gateway.process.poll() is not None)
        assert gateway.process.returncode == 0
        assert not (folder / "admin-0.sock").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"workers": 0}, 2, "gateway.workers must be a whole number of at least 1, it is 0"),
        ({"portt": 1}, 2, "unknown fields: portt"),
        ({"workers": 2, "admin": "admin.sock"}, 2, "must hold {worker}"),
    ],
)
def test_a_configuration_that_is_not_right_ends_at_once_and_says_why(
    folder: Path, change: dict[str, object], code: int, words: str
):
    ended = _run_with(folder, change)
    assert ended.returncode == code
    assert words in ended.stderr


@pytest.mark.parametrize("count", [1, 2])
async def test_a_port_that_is_taken_is_named(folder: Path, count: int, gateway: Gateway):
    listeners = {"api": {"host": "127.0.0.1", "port": gateway.ports["api"]}}
    ended = await asyncio.to_thread(_run_with, folder, {"listeners": listeners, "workers": count})
    assert ended.returncode == 1
    assert f"127.0.0.1:{gateway.ports['api']}" in ended.stderr


def _run_with(folder: Path, change: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    config: dict[str, object] = {
        "listeners": {"api": {"host": "127.0.0.1", "port": 0}},
        "table": str(folder / "routes.json"),
        "admin": str(folder / "admin-{worker}.sock"),
    }
    (folder / "gateway.json").write_text(json.dumps({**config, **change}))
    argv = [sys.executable, "-m", "ultramarine_serving.gateway", "--config", str(folder / "gateway.json")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, env=environment)
