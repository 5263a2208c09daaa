"""Sockets that listen: of one process, or of several that take turns at one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass

from ultramarine_serving.http.address import Address

log = logging.getLogger(__name__)

BACKLOG = 1024
GIVE_WAY_S = 0.001  #: so long another process has the first go at a connection
_REST_S = 0.1  #: after an error of `accept`, which is mostly that files have run out


def bind(address: Address, *, reuse_port: bool = False) -> socket.socket:
    """A socket that is bound and does not listen yet. A stale one of the file system is replaced. Raises OSError."""
    if not address.path:
        return _bind_port(address, reuse_port=reuse_port)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address.usable_path() as path:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.unlink(path)
            made.bind(path)
            os.chmod(path, 0o600)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _bind_port(address: Address, *, reuse_port: bool) -> socket.socket:
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(where)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


@dataclass(frozen=True)
class SharedSocket:
    """One that listens, and at which other processes accept too.

    `gives_way`: whether another process is to have the next connection, for it has fewer than we have.
    """

    socket: socket.socket
    gives_way: Callable[[int], bool]


class Turntaker:
    """Accepts at a shared socket: one connection at a turn of the loop, and later than a process with fewer of them.

    An event loop's own server takes all that wait at once: the first process to wake would have them all, for as long
    as they live.
    """

    def __init__(
        self,
        shared: SharedSocket,
        factory: Callable[[], asyncio.Protocol],
        *,
        connections: Callable[[], int],
        tls: ssl.SSLContext | None,
        patience_s: float | None,
    ) -> None:
        """`connections`: how many are open. `patience_s`: how long a client may take to begin to speak TLS."""
        self._socket = shared.socket
        self._gives_way = shared.gives_way
        self._factory = factory
        self._connections = connections
        self._tls = tls
        self._patience_s = None if tls is None else patience_s
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._waiting: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()

    def resume(self) -> None:
        """Accept from now on, unless it was closed."""
        if not self._is_open and self._socket.fileno() >= 0:
            self._is_open = True
            self._loop.add_reader(self._socket.fileno(), self._come)

    def pause(self) -> None:
        """Leave connections to the others."""
        if self._is_open:
            self._is_open = False
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            else:
                self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Accept no more."""
        self.pause()
        self._socket.close()

    def _come(self) -> None:
        if self._gives_way(self._connections() + len(self._connecting)):
            self._rest(GIVE_WAY_S)
        else:
            self._accept()

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._waiting = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._socket.fileno(), self._come)
        self._accept()

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("No connection can be accepted: %s.", error)
            self._rest(_REST_S)
            return
        accepted.setblocking(False)
        made = self._loop.create_task(self._connect(accepted))
        self._connecting.add(made)
        made.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory, accepted, ssl=self._tls, ssl_handshake_timeout=self._patience_s
            )
        except OSError as error:  # it has gone, or speaks no TLS
            log.debug("A connection did not come about: %s", error)
            accepted.close()
