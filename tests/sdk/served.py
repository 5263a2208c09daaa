"""The real control plane on a loopback port, in a thread: its own app, loops and driver, in a home of its own."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import uvicorn

from ultramarine.api.app import build
from ultramarine.sdk import Workspace
from ultramarine.sdk.connection import Connection
from ultramarine.server.parts import put_together
from ultramarine.settings import Settings

T = TypeVar("T")
WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    url: str
    token: str
    home: Path

    def workspace(self, name: str = "default") -> Workspace:
        return Workspace(Connection(url=self.url, token=self.token, workspace=name))


def eventually(look: Callable[[], T], *, words: str) -> T:
    """What `look` gives, as soon as it is true."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {words}"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def served(home: Path) -> Generator[Served]:
    """A server that jobs really run on; when it ends, everything that it started has ended."""
    for name in ("run", "files", "gateway", "logs", "tmp"):
        (home / name).mkdir(parents=True)
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(home / "run" / "control.sock"))
    unix.listen(64)
    server = _Server(home, [tcp, unix])
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.is_ready or not thread.is_alive(), words="the control plane serves")
        token = json.loads((home / "connection.json").read_text())["token"]
        found = Served(url=f"http://127.0.0.1:{tcp.getsockname()[1]}", token=token, home=home)
        yield found
        eventually(lambda: not found.workspace().installation.drain()["allocations"], words="all has ended")
    finally:
        server.end()
        thread.join()


class _Server:
    def __init__(self, home: Path, sockets: list[socket.socket]) -> None:
        self.home, self.sockets = home, sockets
        self.server: uvicorn.Server | None = None

    @property
    def is_ready(self) -> bool:
        return self.server is not None and self.server.started

    def run(self) -> None:
        asyncio.run(self._run())

    def end(self) -> None:
        if self.server is not None:
            self.server.should_exit = True

    async def _run(self) -> None:
        settings = Settings(home=self.home)
        parts = await put_together(settings, home=self.home, socket=self.home / "run" / "control.sock")
        config = uvicorn.Config(build(parts.ctx), log_config=None, access_log=False, timeout_graceful_shutdown=1)
        loops = parts.begin()
        self.server = uvicorn.Server(config)
        await self.server.serve(sockets=self.sockets)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await parts.close()
