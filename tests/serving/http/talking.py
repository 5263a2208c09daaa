"""Raw bytes to a server and back."""

import asyncio
import time
from collections.abc import Callable

from ultramarine_serving.http.server import Request, Response, Server


async def until(holds: Callable[[], object], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.005)


class Talk:
    """Connections to one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.path = server.addresses[0].path

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def say(self, data: bytes) -> bytes:
        """Send, and read until the server closes the connection."""
        reader, writer = await self.open()
        writer.write(data)
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return got


def tell(request: Request, /) -> Response:
    """Answers with what was asked."""
    return Response(body=f"{request.method} {request.target} ".encode() + request.body)
