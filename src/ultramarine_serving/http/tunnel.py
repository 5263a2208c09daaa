"""A connection that no longer speaks HTTP: bytes both ways (after 101 Switching Protocols)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ultramarine_serving.http.body import Body


class Writer:
    """The writing side of a connection, with back-pressure."""

    __slots__ = ("_loop", "_transport", "_waiter", "is_lost", "is_paused")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.is_paused = False
        self.is_lost = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._wake()

    def lose(self) -> None:
        """The connection is gone: whoever waits is woken and gets ConnectionError."""
        self.is_lost = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer is slower than we are. Raises ConnectionError when it is gone."""
        if not self.is_lost:
            self._transport.write(data)
        await self.drain()

    async def drain(self) -> None:
        while self.is_paused and not self.is_lost:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.is_lost:
            raise ConnectionError("The peer is gone.")


class Tunnel:
    """The raw bytes of one connection: read `incoming`, write to `writer`."""

    __slots__ = ("incoming", "writer")

    def __init__(self, incoming: Body, writer: Writer) -> None:
        self.incoming = incoming
        self.writer = writer


async def join(one: Tunnel, other: Tunnel) -> None:
    """Carry bytes both ways until either side ends."""

    async def carry(source: Tunnel, target: Tunnel) -> None:
        async for data in source.incoming:
            await target.writer.write(data)

    await until_one_ends(carry(one, other), carry(other, one))


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it at a time until one has ended; the rest is given up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
