"""One worker: the listeners, the table it goes by, its admin socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

from ultramarine_serving.gateway import table
from ultramarine_serving.gateway.access import AccessLog
from ultramarine_serving.gateway.browser import INSTANCES
from ultramarine_serving.gateway.certificate import Certificate
from ultramarine_serving.gateway.config import Config
from ultramarine_serving.gateway.fields import BadFile
from ultramarine_serving.gateway.inference import PREFIX, Inference
from ultramarine_serving.gateway.instances import Instances
from ultramarine_serving.gateway.sites import Sites
from ultramarine_serving.gateway.stamp import Stamp, stamp
from ultramarine_serving.http.server import Address, Request, Response, Server, problem, serve

log = logging.getLogger("ultramarine.gateway")

LOOK_S = 1.0  #: how often the table's file is looked at, should nobody tell us


class Worker:
    """Answers requests by the last good table."""

    def __init__(self, config: Config, *, number: int) -> None:
        self._config = config
        self._number = number
        self._inference = Inference(worker=number, workers=config.workers)
        self._sites = Sites()
        self._instances = Instances()
        self._table = table.EMPTY
        self._seen: Stamp | None = None
        self._error: str | None = "no route table yet"
        self._log: AccessLog | None = None
        self._servers: dict[str, Server] = {}
        self._certificate = None if config.tls is None else Certificate(config.tls.certificate)

    # The table

    def reload(self) -> None:
        """Read the table again; one that is not right changes nothing but the error in the status."""
        path = self._config.table
        try:
            with path.open("rb") as file:
                self._seen = stamp(os.fstat(file.fileno()))
                made = table.parse(file.read())
            self._log_to(made.access_log)
        except (OSError, BadFile) as error:
            self._error = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            log.warning("The route table was refused, version %s stays: %s", self._table.version, self._error)
            return
        self._sites.update(made)
        self._inference.update(made, authorizer=self._sites.authorizer)
        self._instances.update(made, authorizer=self._sites.authorizer)
        self._table = made
        self._error = None
        log.info("Route table %s.", made.version)

    def _log_to(self, path: str | None) -> None:
        """Raises OSError, and then goes on as before."""
        if path != (None if self._log is None else self._log.path):
            self._log = None if path is None else AccessLog(path)

    def _look(self) -> None:
        """Read the table if its file is another one."""
        with contextlib.suppress(FileNotFoundError):
            if stamp(os.stat(self._config.table)) != self._seen:
                self.reload()

    # Requests

    def answer(self, listener: str, request: Request, /) -> Response | Awaitable[Response]:
        """Answer a client."""
        answered = self._route(listener, request)
        return answered if self._log is None else self._log.watch(listener, request, answered)

    def _route(self, listener: str, request: Request) -> Response | Awaitable[Response]:
        path = request.path
        if path == "/healthz":
            return Response(200, [(b"content-type", b"text/plain")], b"ok\n")
        if listener == INSTANCES.listener:
            return self._instances.answer(request)
        if path.startswith(PREFIX):
            return self._inference.answer(request)
        return self._sites.answer(listener, request)

    def administer(self, request: Request, /) -> Response:
        if (request.method, request.path) == ("POST", "/table"):
            self.reload()
        elif (request.method, request.path) != ("GET", "/status"):
            return problem(
                404, "Nothing here", f"{request.method} {request.path}", hint="Use POST /table or GET /status."
            )
        status = 200 if self._error is None or request.method == "GET" else 422
        return Response(status, [(b"content-type", b"application/json")], json.dumps(self.status()).encode())

    def status(self) -> dict[str, Any]:
        listeners = {
            name: ", ".join(map(str, server.addresses)) for name, server in self._servers.items() if name != "admin"
        }
        return {
            "version": self._table.version,
            "error": self._error,
            "worker": self._number,
            "pid": os.getpid(),
            "listeners": listeners,
            **self._inference.status(),
            **self._instances.status(),
        }

    # Life

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let what is under way end, for `grace_s` at most."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        self.reload()
        for name, address in self._config.listeners.items():
            self._servers[name] = await self._listen(name, [address])
        if self._config.tls is not None and self._certificate is not None:
            for name, addresses in self._config.tls.listeners.items():
                self._servers[f"{name} tls"] = await self._listen(name, addresses, tls=self._certificate.context)
        admin = Address(path=self._config.admin_path(self._number))
        self._servers["admin"] = await serve(self.administer, listeners=[admin])
        log.info("Worker %s listens: %s.", self._number, self.status()["listeners"])
        ticking = loop.create_task(self._tick())
        await stop.wait()
        ticking.cancel()
        await asyncio.gather(*(server.drain(self._config.grace_s) for server in self._servers.values()))
        self._inference.update(table.EMPTY, authorizer=None)

    async def _listen(self, name: str, addresses: Sequence[Address], *, tls: ssl.SSLContext | None = None) -> Server:
        handler, reuse_port = partial(self.answer, name), self._config.shares_ports
        return await serve(handler, listeners=addresses, stream_bodies=True, reuse_port=reuse_port, tls=tls)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look()
                if self._certificate is not None:
                    self._certificate.look()
                now = asyncio.get_running_loop().time()
                for pool in [
                    *self._sites.pools,
                    *self._instances.pools,
                    *(each.pool for each in self._inference.replicas.values()),
                ]:
                    pool.close_idle(now)
            except Exception:
                log.exception("The table could not be looked at.")
