"""An HTTP/1.1 server for handlers.

    async def handler(request: Request) -> Response: ...  # or a plain function that returns one, or a future of one

    server = await serve(handler, listeners=[Address.parse("unix:/run/score.sock")], limits=Limits(body_max_bytes=1024))
    ...
    await server.drain(grace_s=10)

The body is whole when the handler is called (`request.body`), within `limits.body_max_bytes`. With `stream_bodies=True`
the handler is called as soon as the headers are in: a body that did not come with them whole is `request.stream`, for
the handler to read; what it leaves ends the connection.
Requests of one connection are answered one after the other, in order. What is no HTTP never reaches a handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence

from ultramarine_serving.http.address import Address
from ultramarine_serving.http.connection import Connection
from ultramarine_serving.http.listening import BACKLOG, SharedSocket, Turntaker, bind
from ultramarine_serving.http.messages import Handler, Limits, Request, Response, problem
from ultramarine_serving.http.shared import Shared

__all__ = ["Address", "Handler", "Limits", "Request", "Response", "Server", "SharedSocket", "problem", "serve"]


_DEFAULT_LIMITS = Limits()


class Server:
    """Listening sockets and the connections that came in by them."""

    def __init__(
        self, shared: Shared, listening: Sequence[asyncio.AbstractServer | Turntaker], addresses: Sequence[Address]
    ) -> None:
        self._shared = shared
        self._listening = listening
        self._taking_turns = [each for each in listening if isinstance(each, Turntaker)]
        self.addresses = addresses  #: where it really listens: port 0 is replaced
        self._sockets = [(each.path, os.stat(each.path).st_ino) for each in addresses if each.path]
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Open connections, idle ones too."""
        return len(self._shared.connections)

    async def _sweep(self) -> None:
        """One clock for all time-outs: a timer per request would cost more than many requests do."""
        limits = self._shared.limits
        loop = asyncio.get_running_loop()
        step_s = min(1.0, limits.header_timeout_s / 4, limits.idle_timeout_s / 4, limits.body_timeout_s / 4)
        while True:
            self._shared.set_date()
            now = loop.time()
            for connection in [each for each in self._shared.connections if each.deadline < now]:
                connection.time_out()
            await asyncio.sleep(step_s)

    def resume(self) -> None:
        """Accept at sockets that are shared with other processes."""
        for each in self._taking_turns:
            each.resume()

    def pause(self) -> None:
        """Leave their connections to the other processes, those too that wait for nothing here."""
        for each in self._taking_turns:
            each.pause()
        for connection in list(self._shared.connections):
            connection.close_when_idle()

    def stop_listening(self) -> None:
        """Take no new connection. Those that are open go on."""
        for each in self._listening:
            each.close()
        for path, inode in self._sockets:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:  # not that of a server which has taken our place
                    os.unlink(path)
        self._sockets = []

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, answer what has arrived, close. What is not done after `grace_s` seconds is cut off."""
        self.stop_listening()
        self._shared.is_draining = True
        for connection in list(self._shared.connections):
            connection.close_when_idle()
        if self._shared.connections and grace_s > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._shared.all_closed(), grace_s)
        for connection in list(self._shared.connections):
            connection.abort()
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper


async def serve(
    handler: Handler,
    *,
    listeners: Sequence[Address | SharedSocket],
    limits: Limits = _DEFAULT_LIMITS,
    stream_bodies: bool = False,
    reuse_port: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listen on `listeners` (port 0: any free one; a stale Unix socket is replaced). Raises OSError.

    With `tls` every port of them speaks TLS and nothing else. Sockets of the file system are plain in any case. At a
    shared socket nothing is accepted before `resume`.
    """
    loop = asyncio.get_running_loop()
    shared = Shared(handler, limits, stream_bodies=stream_bodies)

    def factory() -> Connection:
        return Connection(shared, loop)

    patience = None if tls is None else limits.handshake_timeout_s
    listening: list[asyncio.AbstractServer | Turntaker] = []
    addresses: list[Address] = []
    for listener in listeners:
        if isinstance(listener, SharedSocket):
            is_plain = listener.socket.family == socket.AF_UNIX
            listening.append(
                Turntaker(
                    listener,
                    factory,
                    connections=lambda: len(shared.connections),
                    tls=None if is_plain else tls,
                    patience_s=patience,
                )
            )
            continue
        made = bind(listener, reuse_port=reuse_port)
        if listener.path:
            listening.append(await loop.create_unix_server(factory, sock=made, backlog=BACKLOG))
            addresses.append(listener)
            continue
        listening.append(
            await loop.create_server(factory, sock=made, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=patience)
        )
        addresses.append(Address(host=listener.host, port=made.getsockname()[1]))
    return Server(shared, listening, addresses)
