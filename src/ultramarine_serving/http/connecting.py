"""How a connection to an upstream is made: to a socket of the file system, or to a port, by TLS where it is told so.

What has programs behind it, of which one is meant, is asked for that one first: `CONNECT` (RFC 9110, 9.3.6), with the
secret. From its 200 on the connection is that program's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from ultramarine_serving.http.address import Address
from ultramarine_serving.http.tls import Expected
from ultramarine_serving.http.wire import head

CONNECT_TIMEOUT_S = 3.0
DEAF_S = 3.0  #: a peer at a port that has acknowledged nothing of what was sent for so long is gone

_SAID_BYTES_MAX = 4096

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(address: Address, make: Callable[[], P], *, expected: Expected | None) -> P:
    """What `make` has made, connected. Raises OSError (asyncio.TimeoutError may be none before Python 3.11).

    `expected`: who must show by TLS that it is the one; None: whoever answers there, in the clear.
    """
    return await asyncio.wait_for(_open(address, make, expected), CONNECT_TIMEOUT_S)


async def _open(address: Address, make: Callable[[], P], expected: Expected | None) -> P:
    loop = asyncio.get_running_loop()
    if address.path:
        with address.usable_path() as path:
            _, made = await loop.create_unix_connection(make, path)
            return made
    if expected is None:
        transport, made = await loop.create_connection(make, address.host, address.port)
    else:
        transport, made = await _trusted(address, make, expected)
    # A machine that was cut off refuses nothing: without this a request is waited for as long as it may last.
    deaf = getattr(socket, "TCP_USER_TIMEOUT", None)
    if deaf is not None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, deaf, int(DEAF_S * 1000))
    return made


async def _trusted(address: Address, make: Callable[[], P], expected: Expected) -> tuple[asyncio.BaseTransport, P]:
    loop = asyncio.get_running_loop()
    tls, name = expected.context, expected.name
    if not expected.behind:
        return await loop.create_connection(make, address.host, address.port, ssl=tls, server_hostname=name)
    transport, asking = await loop.create_connection(_Asking, address.host, address.port, ssl=tls, server_hostname=name)
    try:
        transport.write(head(f"CONNECT {expected.behind} HTTP/1.1".encode(), expected.headers))
        await asking.said
        if transport.is_closing():
            raise ConnectionResetError("it closed the connection")
    except BaseException:
        transport.abort()
        raise
    made = make()
    transport.set_protocol(made)
    made.connection_made(transport)
    return transport, made


class _Asking(asyncio.Protocol):
    """Until what is behind has been reached: `said` raises OSError with the words of the answer where it has not."""

    def __init__(self) -> None:
        self.said: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self.said.done():
            return
        if self._seen.startswith(b"HTTP/1.1 200 ") and self._seen.endswith(b"\r\n\r\n"):
            self.said.set_result(None)
        elif self._seen.endswith(b"\r\n\r\n") or len(self._seen) > _SAID_BYTES_MAX:
            line = self._seen.partition(b"\r\n")[0].decode("latin-1")
            self.said.set_exception(OSError(line.partition(" ")[2][:200] or "it gave no answer"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.said.done():
            self.said.set_exception(exc or ConnectionResetError("it closed the connection"))


def in_words(address: Address, error: Exception) -> str:
    """Why no connection was made, as one clause."""
    if isinstance(error, asyncio.TimeoutError):
        why = f"no answer in {CONNECT_TIMEOUT_S:g} s"
    elif isinstance(error, FileNotFoundError):
        why = "there is no such socket"
    elif isinstance(error, ConnectionRefusedError):
        why = "refused"
    elif isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not the one expected ({error.verify_message})"
    else:
        why = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
    return f"connect failed: {why}" if address.path else f"gateway cannot reach {address}: {why}"
