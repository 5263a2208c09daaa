"""How a connection to an upstream is made: to a socket of the file system, or to a port, by TLS where it is told so."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from ultramarine_serving.http.address import Address
from ultramarine_serving.http.tls import Expected

CONNECT_TIMEOUT_S = 3.0
DEAF_S = 3.0  #: a peer at a port that has acknowledged nothing of what was sent for so long is gone

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
        tls, name = expected.context, expected.name
        transport, made = await loop.create_connection(make, address.host, address.port, ssl=tls, server_hostname=name)
    # A machine that was cut off refuses nothing: without this a request is waited for as long as it may last.
    deaf = getattr(socket, "TCP_USER_TIMEOUT", None)
    if deaf is not None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, deaf, int(DEAF_S * 1000))
    return made


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
