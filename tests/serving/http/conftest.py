import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Protocol

import pytest

from ultramarine_serving.http.server import Address, Handler, Limits, Server, serve

from .talking import Talk


class Serving(Protocol):
    """Start a server on a Unix socket; the way to talk to it."""

    def __call__(
        self, handler: Handler, *, limits: Limits | None = None, stream_bodies: bool = False
    ) -> Awaitable[Talk]: ...


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """`await serving(handler, limits=…)` starts a server on a Unix socket and gives a way to talk to it."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ht")))
        servers: list[Server] = []

        async def start(handler: Handler, *, limits: Limits | None = None, stream_bodies: bool = False) -> Talk:
            address = Address(path=str(folder / f"{len(servers)}.sock"))
            server = await serve(handler, listeners=[address], limits=limits or Limits(), stream_bodies=stream_bodies)
            servers.append(server)
            return Talk(server)

        yield start
        for server in servers:
            await server.drain(0)
