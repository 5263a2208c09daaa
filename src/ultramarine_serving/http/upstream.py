"""One connection to an upstream: a request out, its answer in, both streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import httptools

from ultramarine_serving.http.body import Body
from ultramarine_serving.http.deadlines import FOREVER, Deadlines
from ultramarine_serving.http.tunnel import Tunnel, Writer

BUFFER_MAX_BYTES = 262_144
HEAD_MAX_BYTES = 131_072

_FRAMING = (b"content-length", b"transfer-encoding")


class UpstreamError(Exception):
    """The upstream did not answer as it should. The text is one clause in words."""


class NotConnected(UpstreamError):
    """No connection could be made: nothing was sent, so it can be sent elsewhere."""


class Broken(UpstreamError):
    """It broke off after something was sent. `is_stale`: a kept connection, on which not one byte of an answer came."""

    def __init__(self, words: str, *, is_stale: bool = False) -> None:
        super().__init__(words)
        self.is_stale = is_stale


class TooSlow(UpstreamError):
    """The answer did not come in time."""


class Answer:
    """An upstream's answer: its headers are in, `body` may still be arriving. `close` when the rest is not wanted."""

    __slots__ = ("_connection", "body", "headers", "status", "tunnel")

    def __init__(self, connection: Upstream, status: int, headers: list[tuple[bytes, bytes]], *, body: Body) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers  #: names are lower-case
        self.body = body
        self.tunnel: Tunnel | None = None  #: after 101

    def close(self) -> None:
        """Give the connection up unless the answer is whole."""
        if self.tunnel is not None or not self.body.is_complete:
            self._connection.abort()


class Keeper(Protocol):
    """Where a connection belongs."""

    deadlines: Deadlines

    def take_back(self, connection: Upstream) -> None:
        """Its exchange is over, and it may be used again."""

    def forget(self, connection: Upstream) -> None:
        """It is lost."""


class Upstream(asyncio.Protocol):
    """One connection to an upstream, one exchange at a time. It goes back to its pool when an answer is whole."""

    def __init__(self, pool: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._answer: Answer | None = None
        self._sender: asyncio.Task[None] | None = None
        self._tunnel: Tunnel | None = None
        self._is_head_request = False
        self._is_reused = False
        self._quiet_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_final = False  #: the headers of the answer itself are in, not of 100 Continue
        self._ends_with_connection = False
        self._keeps_alive = False
        self._timeout_s = 0.0
        self.deadline = FOREVER
        self.is_lost = False
        self.idle_since = 0.0

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = Writer(self._transport, self._loop)
        self._pool.deadlines.add(self)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.incoming.feed(data)
            return
        if self._waiting is None and self._answer is None:
            self.abort()  # bytes that nobody asked for
            return
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._begin_tunnel(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.fail(Broken(f"its answer is no HTTP ({error})"))
            return
        if self._quiet_bytes > HEAD_MAX_BYTES:
            self.fail(Broken(f"its headers have more than {HEAD_MAX_BYTES} bytes"))
            return
        # Only now: the body has often come with the headers, and is then given on in one piece.
        if self._answer is not None and (waiting := self._no_longer_waiting()) is not None:
            waiting.set_result(self._answer)
        if self._answer is not None and self._answer.body.is_complete and self._tunnel is None:
            self._end_exchange()

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.incoming.feed_end()
            return self._transport.can_write_eof()  # TLS knows no half of a connection
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._writer.lose()
        if self._tunnel is not None:
            self._tunnel.incoming.feed_end()
        if self._answer is not None and self._ends_with_connection and exc is None:
            self._answer.body.feed_end()
        is_stale = self._is_reused and self._quiet_bytes == 0 and not self._is_final
        self.fail(Broken("it closed the connection without an answer", is_stale=is_stale))
        self._pool.deadlines.discard(self)
        self._pool.forget(self)

    def pause_writing(self) -> None:
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume()

    # What the parser tells

    def on_message_begin(self) -> None:
        if self._is_final:
            raise ValueError("more than one answer")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_final:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        self._quiet_bytes = 0
        self._is_final = True
        body = Body(BUFFER_MAX_BYTES)
        body.pause = self._pause_reading
        body.resume = self._resume_reading
        self._answer = Answer(self, status, self._headers, body=body)
        has_length = False
        for name, _ in self._headers:
            if name in _FRAMING:
                has_length = True
                break
        self._keeps_alive = self._parser.should_keep_alive()  # llhttp forgets it at the end of the message
        self._ends_with_connection = not has_length and status not in (101, 204, 304)
        if self._is_head_request:
            body.feed_end()

    def on_body(self, data: bytes) -> None:
        self._quiet_bytes = 0
        if self._answer is not None and not self._is_head_request:
            self._answer.body.feed(data)

    def on_message_complete(self) -> None:
        if self._answer is not None:
            self._answer.body.feed_end()

    # One exchange

    def ask(
        self, head: bytes, body: bytes | AsyncIterator[bytes], *, is_head: bool, is_chunked: bool, timeout_s: float
    ) -> asyncio.Future[Answer] | None:
        """Send a request; the future gets the answer when its headers are in, or an UpstreamError.

        TooSlow is one of them, where the headers are not in after `timeout_s` seconds (0: they may take for ever).
        None: the upstream had closed the connection, and nothing was sent.
        """
        self._transport.write(head + body if isinstance(body, bytes) else head)
        if self._transport.is_closing():
            return None
        self._waiting = waiting = self._loop.create_future()
        if timeout_s:
            self._timeout_s = timeout_s
            self._pool.deadlines.set(self, timeout_s)
        self._is_head_request = is_head
        if not isinstance(body, bytes):
            self._sender = self._loop.create_task(self._send(body, is_chunked=is_chunked))
        return waiting

    async def _send(self, body: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        try:
            async for part in body:
                await self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            if is_chunked:
                await self._writer.write(b"0\r\n\r\n")
        except ConnectionError:
            return  # connection_lost tells the one who waits
        except Exception as error:
            self.fail(error)

    def _no_longer_waiting(self) -> asyncio.Future[Answer] | None:
        """Who waits for the headers of an answer, if it still does, to be told."""
        waiting, self._waiting = self._waiting, None
        self.deadline = FOREVER
        return None if waiting is None or waiting.done() else waiting

    def time_out(self) -> None:
        """The deadline has passed: the headers of the answer are not in."""
        self.fail(TooSlow(f"no answer in {self._timeout_s:g} s"))

    def fail(self, error: Exception) -> None:
        """End the exchange: who waits for the answer or reads its body gets `error`."""
        waiting = self._no_longer_waiting()
        if waiting is not None:
            waiting.set_exception(error)
        elif self._answer is not None:
            self._answer.body.feed_error(error)
        self.abort()

    def abort(self) -> None:
        self._stop_sending()
        self._transport.abort()

    def _stop_sending(self) -> bool:
        """True if the request had been sent whole."""
        sender, self._sender = self._sender, None
        if sender is None or sender.done():
            return True
        if sender is not asyncio.current_task():
            sender.cancel()
        return False

    def _end_exchange(self) -> None:
        is_sent = self._stop_sending()
        keeps = is_sent and not self._is_head_request and not self._ends_with_connection and self._keeps_alive
        self._answer = None
        self._is_final = False
        self._quiet_bytes = 0
        if keeps:
            self._is_reused = True
            self._pool.take_back(self)
        else:
            self._transport.close()

    def _begin_tunnel(self, leftover: bytes) -> None:
        if self._answer is None:
            return
        self._tunnel = self._answer.tunnel = Tunnel(self._answer.body, self._writer)
        self._answer.body.is_complete = False
        if leftover:
            self._answer.body.feed(leftover)

    def _pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()
