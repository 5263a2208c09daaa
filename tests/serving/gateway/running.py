"""A gateway as a process of its own, and the upstreams of a test in the test's own loop."""

import asyncio
import contextlib
import hashlib
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx

from ultramarine_serving.gateway.table import FORMAT
from ultramarine_serving.http.server import Address, Handler, Request, Response, Server, serve

KEY = "the-key"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
OF_DEPLOYMENTS = {"max_concurrent", "request_timeout_s", "queue_max", "queue_wait_s", "hold_s", "idempotent"}


async def until(holds: Callable[[], Any], *, within_s: float = 10.0) -> Any:
    """What `holds` gives, or gives to await, as soon as it is true."""
    deadline = time.monotonic() + within_s
    while True:
        seen: Any = holds()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.01)


def endpoint(replicas: dict[str, list[str]], **different: Any) -> dict[str, Any]:
    """An endpoint of the route table: addresses by deployment; the replicas are named `blue-0`, `blue-1` …

    What is of deployments holds for each of them.
    """
    made: dict[str, Any] = {
        "keys_sha256": [hashlib.sha256(KEY.encode()).hexdigest()],
        "auth_mode": "key",
        "traffic": {name: 100 // len(replicas) for name in replicas},
        "body_max_bytes": 10_485_760,
    }
    limits: dict[str, Any] = {"max_concurrent": 8, "request_timeout_s": 5.0, "queue_max": 64, "queue_wait_s": 0.5}
    limits |= {name: different.pop(name) for name in OF_DEPLOYMENTS & different.keys()}
    made["deployments"] = {
        name: {
            **limits,
            "replicas": [
                {"id": f"{name}-{i}", "address": address, "probe": "/", "path": "/score"}
                for i, address in enumerate(addresses)
            ],
        }
        for name, addresses in replicas.items()
    }
    return made | different


def site(prefix: str, upstream: Server | str, **different: Any) -> dict[str, Any]:
    address = upstream if isinstance(upstream, str) else str(upstream.addresses[0])
    return {"listener": "api", "prefix": prefix, "upstream": address, "authorize": "none", "hold_s": 0.0} | different


class Upstreams:
    """Servers in the test's own loop, on Unix sockets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[Server] = []

    async def start(
        self, handler: Handler, *, name: str = "", stream_bodies: bool = False, at: Address | None = None
    ) -> Server:
        """`at`: elsewhere than on a Unix socket."""
        path = self._folder / (name or f"up{len(self._servers)}.sock")
        server = await serve(handler, listeners=[at or Address(path=str(path))], stream_bodies=stream_bodies)
        self._servers.append(server)
        return server

    async def replica(self, name: str = "", *, answer: str = "ok") -> str:
        """A scoring server that answers `answer`; its address."""
        return str((await self.start(lambda request: Response(body=answer.encode()), name=name)).addresses[0])

    async def stop(self) -> None:
        for server in self._servers:
            await server.drain(0)


def echo(request: Request) -> Response:
    """What arrived, as JSON."""
    headers = [[name.decode(), value.decode("latin-1")] for name, value in request.headers]
    said = {
        "method": request.method,
        "target": request.target,
        "headers": headers,
        "body": request.body.decode("latin-1"),
    }
    return Response(headers=[(b"content-type", b"application/json")], body=json.dumps(said).encode())


class Gateway:
    """`python -m ultramarine_serving.gateway` in a folder of its own."""

    def __init__(self, folder: Path, *, workers: int = 1, grace_s: float = 5.0, certificate: str = "") -> None:
        """`certificate`: with its key, as PEM: it listens by TLS too then, as `api tls`, `second tls` …."""
        self.folder = folder
        self.workers = workers
        self._version = 0
        self.table_path = folder / "routes.json"
        listener = {"host": "127.0.0.1", "port": 0}
        config: dict[str, Any] = {
            "listeners": {"api": listener, "second": listener, "instances": listener},
            "table": str(self.table_path),
            "admin": str(folder / "admin-{worker}.sock"),
            "workers": workers,
            "grace_s": grace_s,
        }
        if certificate:
            self.certificate.write_text(certificate)
            by_tls = {"api": [listener], "second": [listener], "instances": [listener]}
            config["tls"] = {"certificate": str(self.certificate), "listeners": by_tls}
        (folder / "gateway.json").write_text(json.dumps(config))
        self.ports: dict[str, int] = {}

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    def start(self) -> None:
        argv = [sys.executable, "-m", "ultramarine_serving.gateway", "--config", str(self.folder / "gateway.json")]
        source = str(Path(__file__).parents[3] / "src")
        with (self.folder / "log.txt").open("wb") as log:
            environment = os.environ | {"PYTHONPATH": source}
            self.process = subprocess.Popen(argv, stderr=log, env=environment)
        status = self._first_status()
        self.ports = {name: int(address.rpartition(":")[2]) for name, address in status["listeners"].items()}

    def write(self, **parts: Any) -> None:
        """Write a table as the control plane does: beside it, then renamed."""
        self._version += 1
        self.write_bytes(json.dumps({"format": FORMAT, "version": self._version, **parts}).encode())

    def write_bytes(self, data: bytes) -> None:
        beside = self.table_path.with_suffix(".new")
        beside.write_bytes(data)
        beside.rename(self.table_path)

    async def use(self, **parts: Any) -> None:
        """Give it a table, and wait until every replica in it is up."""
        self.write(**parts)
        for worker in range(self.workers):
            status = (await self.admin("POST", "/table", worker=worker)).json()
            assert status["error"] is None, status["error"]
            await until(lambda worker=worker: self._all_up(worker))

    async def _all_up(self, worker: int) -> bool:
        status = await self.status(worker=worker)
        return all(replica["state"] == "up" for replica in status["replicas"].values())

    async def admin(self, method: str, path: str, *, worker: int = 0) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / f"admin-{worker}.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path)

    async def status(self, *, worker: int = 0) -> dict[str, Any]:
        return (await self.admin("GET", "/status", worker=worker)).json()

    def _first_status(self) -> dict[str, Any]:
        """The status of the last worker, once all answer."""
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()
            assert time.monotonic() < deadline, "the gateway did not start"
            try:
                return [self._ask_status(worker) for worker in range(self.workers)][-1]
            except httpx.TransportError:
                time.sleep(0.02)

    def _ask_status(self, worker: int) -> dict[str, Any]:
        transport = httpx.HTTPTransport(uds=str(self.folder / f"admin-{worker}.sock"))
        with httpx.Client(transport=transport, base_url="http://admin") as client:
            return client.get("/status").json()

    @contextlib.asynccontextmanager
    async def client(self, listener: str = "api", **options: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
        scheme = "https" if listener.endswith(" tls") else "http"
        url = f"{scheme}://127.0.0.1:{self.ports[listener]}"
        async with httpx.AsyncClient(base_url=url, timeout=20, **options) as client:
            yield client

    async def raw(self, data: bytes, *, listener: str = "api") -> bytes:
        """Send bytes, and read until the gateway closes, or has been silent for a second."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[listener])
        writer.write(data)
        got = b""
        with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
            while more := await asyncio.wait_for(reader.read(65536), 1.0):
                got += more
        writer.close()
        return got

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
