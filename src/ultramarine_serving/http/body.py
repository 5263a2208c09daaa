"""A body in flight: one side feeds it, the other reads it, and a slow reader slows the feeder."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class BodyTooLarge(Exception):
    """The body has more bytes than the reader allows."""


class BodyBroken(Exception):
    """The peer went away, or made no sense, before the body was whole."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status  #: what the server answers if it still can


def _nothing() -> None:
    pass


class Body:
    """Bytes that arrive over time. `async for chunk in body` reads them once; an empty body is complete at once.

    `pause` and `resume` are called when more than `buffer_max_bytes` wait to be read, and when they no longer do.
    """

    __slots__ = (
        *("_buffer_max", "_chunks", "_error", "_paused", "_waiter"),
        *("buffered", "is_complete", "on_read", "pause", "resume", "total"),
    )

    def __init__(self, buffer_max_bytes: int = 262_144) -> None:
        self._chunks: deque[bytes] = deque()
        self._buffer_max = buffer_max_bytes
        self._error: BaseException | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.buffered = 0  #: bytes that wait to be read
        self.total = 0  #: bytes that have arrived
        self.is_complete = False
        self.pause: Callable[[], None] = _nothing
        self.resume: Callable[[], None] = _nothing
        self.on_read: Callable[[], None] = _nothing  #: called when somebody begins to wait for bytes

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self.buffered += len(data)
        self.total += len(data)
        if self.buffered > self._buffer_max:
            self._paused = True
            self.pause()  # each time: another body of the same connection may have resumed it
        if self._waiter is not None:
            self._wake()

    def feed_end(self) -> None:
        self.is_complete = True
        if self._waiter is not None:
            self._wake()

    def feed_error(self, error: BaseException) -> None:
        """The rest will never come: the reader gets what has arrived, then `error`."""
        if not self.is_complete and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self) -> bytes:
        """All that has arrived and was not read, without waiting."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        if self._paused:
            self._paused = False
            self.resume()
        return data

    async def read(self) -> bytes:
        """What has arrived; waits for at least one byte. `b""` is the end. Raises what `feed_error` was given."""
        while not self._chunks:
            if self.is_complete:
                return b""
            if self._error is not None:
                raise self._error
            self.on_read()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.take()

    async def read_all(self, max_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as it is longer than `max_bytes`."""
        parts: list[bytes] = []
        while True:
            if self.total > max_bytes:
                raise BodyTooLarge(f"The body is longer than {max_bytes} bytes.")
            part = await self.read()
            if not part:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            parts.append(part)

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data
