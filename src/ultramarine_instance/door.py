"""The one door of an instance on another machine than the gateway's: a port, by TLS, to all its programs.

Who comes in says `CONNECT NAME:PORT HTTP/1.1` (RFC 9110, 9.3.6) with the instance's secret in a header. After a 200 the
connection is that program's: nothing of what goes over it is looked at. Everybody else hears why not, and no program
of another user of this machine is ever reached. In a thread with a loop of its own: JupyterLab may be busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
import ssl
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultramarine_instance.options import Door
from ultramarine_instance.settings import Application
from ultramarine_serving.http import behind
from ultramarine_serving.http.address import Address
from ultramarine_serving.http.holder import Holder, holder
from ultramarine_serving.http.listening import BACKLOG, bind
from ultramarine_serving.http.tls import SECRET, server_context
from ultramarine_serving.http.tunnel import until_one_ends

HEAD_S = 10.0  #: for the handshake and the head
HEAD_BYTES_MAX = 8192
REACH_S = 3.0
CONNECTIONS_MAX = 512
_PIECE = 1 << 16


class NoDoor(Exception):
    """It cannot be opened; in words."""


class Refused(Exception):
    """Why somebody does not come in: a status and its reason, as they stand in the answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Behind:
    """What can be asked for, and who may."""

    lab: Path  #: JupyterLab's socket
    ports: Mapping[str, int]  #: of the applications, as a CONNECT names them
    secret: str

    @classmethod
    def of(cls, lab: Path, applications: Sequence[Application], secret: str) -> Behind:
        return cls(lab, {behind.application(one.name, one.port): one.port for one in applications}, secret)

    def place(self, head: bytes) -> Address:
        """Where the program is that a head asks for. Raises Refused."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        headers = dict(_header(line) for line in lines if line)
        said = headers.get(SECRET.decode(), "")
        if not hmac.compare_digest(said.encode("latin-1"), self.secret.encode()):
            raise Refused(401, "It wants the instance's secret")
        if method != "CONNECT":
            raise Refused(405, "It wants a CONNECT")
        asked = rest.partition(" ")[0]
        if asked == behind.JUPYTERLAB:
            return Address(path=str(self.lab))
        if asked not in self.ports:
            raise Refused(404, "It has no such program")
        return Address(host="127.0.0.1", port=self.ports[asked])

    async def reach(self, place: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises Refused, OSError."""
        if place.path:
            return await asyncio.open_unix_connection(place.path)
        found = holder(place.port, socket=str(self.lab))
        if found is Holder.STRANGER:
            raise Refused(502, f"At port {place.port} listens a program of another user of its machine")
        if found is Holder.NOBODY:
            raise Refused(503, f"It takes no connections at port {place.port}")
        return await asyncio.open_connection(place.host, place.port)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


@contextlib.contextmanager
def opened(door: Door | None, there: Behind) -> Generator[None]:
    """It is open while in it; without a `door` there is nothing to do. Raises NoDoor."""
    if door is None:
        yield
        return
    try:
        tls, listening = server_context(door.certificate), bind(Address.parse(door.address))
        listening.listen(BACKLOG)  # who comes before the thread runs waits
    except (OSError, ValueError) as error:
        raise NoDoor(f"Cannot listen at {door.address} with {door.certificate}: {error}") from None
    loop = asyncio.new_event_loop()
    serving = loop.create_task(_serve(_Guests(there), listening, tls))
    thread = threading.Thread(target=_run, args=(loop, serving), name="door", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, serving: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(serving)
    loop.close()


async def _serve(guests: _Guests, listening: socket.socket, tls: ssl.SSLContext) -> None:
    server = await asyncio.start_server(guests.serve, sock=listening, ssl=tls, ssl_handshake_timeout=HEAD_S)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Guests:
    def __init__(self, there: Behind) -> None:
        self._there = there
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self._count += 1
        try:
            await self._serve(reader, writer)
        except Refused as refused:
            writer.write(f"HTTP/1.1 {refused.status} {refused}\r\ncontent-length: 0\r\n\r\n".encode())
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it is closed, whatever was wrong
        finally:
            self._count -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._count > CONNECTIONS_MAX:
            raise Refused(503, "It has too many connections")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
        if len(head) > HEAD_BYTES_MAX:
            raise Refused(431, "It wants a shorter head")
        place = self._there.place(head)
        try:
            there_reader, there_writer = await asyncio.wait_for(self._there.reach(place), REACH_S)
        except (OSError, asyncio.TimeoutError):
            raise Refused(503, "It takes no connections") from None
        try:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            # Until one side has ended: TLS knows no half of a connection.
            await until_one_ends(_pour(reader, there_writer), _pour(there_reader, writer))
        finally:
            there_writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
