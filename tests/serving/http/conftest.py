import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ultramarine_serving.http.server import Address, Handler, Limits, Server, serve

from .talking import Talk

Serving = Callable[..., Awaitable[Talk]]


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
