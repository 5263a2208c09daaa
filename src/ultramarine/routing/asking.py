"""One request to something of ours: to a Unix socket here, or by TLS to a replica or an instance on another machine."""

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from ultramarine.planning.routes import UNIX, Place

SECRET = "x-ultramarine-secret"  #: the header that says who may ask
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


async def ask(
    place: Place, method: str, path: str, *, timeout_s: float, headers: Mapping[str, str] = NO_HEADERS
) -> tuple[int, bytes]:
    """Status and body of the answer. Raises OSError (TimeoutError is one).

    By hand, since this is asked at each turn: making a client costs far more.
    """
    said = headers if not place.secret or place.behind else {**headers, SECRET: place.secret}
    own = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    async with asyncio.timeout(timeout_s):
        reader, writer = await _connected(place)
        try:
            request = f"{method} {path} HTTP/1.1\r\nHost: here\r\n{own}Content-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b" ")[2][:3]
    if not status.isdigit():
        raise OSError("it broke off")
    return int(status), body


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if place.address.startswith(UNIX):
        return await asyncio.open_unix_connection(place.address.removeprefix(UNIX))
    host, _, port = place.address.rpartition(":")
    tls = _trusting(place.ca)
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls, server_hostname=place.name)
    if place.behind:
        try:
            await _let_in(place, reader, writer)
        except BaseException:
            writer.close()
            raise
    return reader, writer


async def _let_in(place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """By the door of an instance, to the program that is meant."""
    writer.write(f"CONNECT {place.behind} HTTP/1.1\r\n{SECRET}: {place.secret}\r\n\r\n".encode("ascii"))
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise OSError("it broke off") from None
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise OSError(answer.partition(b"\r\n")[0].decode("latin-1"))


@lru_cache(maxsize=4)
def _trusting(ca: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(cadata=ca)
    return made
