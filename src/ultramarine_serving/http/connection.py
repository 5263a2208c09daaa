"""One connection of the server: bytes in, requests to the handler one by one, answers out in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import Any, cast

from ultramarine_serving.http.body import Body, BodyBroken
from ultramarine_serving.http.deadlines import FOREVER
from ultramarine_serving.http.messages import Request, Response
from ultramarine_serving.http.reading import Refused, RequestReader, too_slow
from ultramarine_serving.http.shared import Shared, failure
from ultramarine_serving.http.tunnel import Tunnel, Writer
from ultramarine_serving.http.wire import STATUS_LINES, head

log = logging.getLogger(__name__)

LINGER_S = 2.0  #: how long we throw away what a refused client goes on sending: a reset would destroy our answer

_ANSWERLESS = frozenset((204, 304))
_BODY_PAUSE, _PIPELINE_PAUSE = 1, 2


class Connection(asyncio.Protocol):
    """Reads with a `RequestReader`, keeps the order, writes. The server calls `time_out` after `deadline`."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop
        self._limits = shared.limits
        self._reader = RequestReader(self, shared.limits, stream_bodies=shared.stream_bodies)
        self._queue: deque[Request | Response] = deque()
        self._active: Request | None = None
        self._task: asyncio.Future[Any] | None = None
        self._tunnel: Tunnel | None = None
        self._pauses = 0
        self._is_reading = True  #: False once nothing that comes is looked at any more
        self._is_lingering = False
        self._unsent = 0
        self._client = ""
        self._scheme = "http"
        self.deadline = FOREVER

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = Writer(self._transport, self._loop)
        if len(self._shared.connections) >= self._limits.connections_max or self._shared.is_draining:
            self._is_reading = False
            self._transport.abort()
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._client = str(cast("tuple[object, ...]", peer)[0])
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        self._shared.connections.add(self)
        self.deadline = self._loop.time() + self._limits.idle_timeout_s

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.incoming.feed(data)
            return
        if not self._is_reading:
            return
        try:
            self._reader.feed(data)
        except Refused as refused:
            self._refuse(refused.response)
        if self._active is None and self._queue:
            self._pump()
        self._set_deadline()

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.incoming.feed_end()
            return self._transport.can_write_eof()  # TLS knows no half of a connection
        return False  # a client that hangs up is gone; one that only half-closes is not told from it

    def pause_writing(self) -> None:
        self._writer.pause()
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout_s

    def resume_writing(self) -> None:
        self._writer.resume()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_reading = False
        self.deadline = FOREVER
        self._writer.lose()
        for request in [self._active, *self._queue]:
            if isinstance(request, Request):
                request.client_gone = True
                if request.stream is not None:
                    request.stream.feed_error(BodyBroken("The client is gone."))
        self._queue.clear()
        if self._tunnel is not None:
            self._tunnel.incoming.feed_end()
        elif self._task is not None:
            self._task.cancel()
        self._shared.forget(self)

    # What the reader tells

    def add(self, request: Request) -> None:
        """A request is ready for the handler: whole, or its headers when bodies are streamed."""
        request.client = self._client
        request.scheme = self._scheme
        if request.stream is not None:
            request.stream.pause = lambda: self._pause_reading(_BODY_PAUSE)
            request.stream.resume = lambda: self._resume_reading(_BODY_PAUSE)
        self._queue.append(request)
        if len(self._queue) > self._limits.pipeline_max:
            self._pause_reading(_PIPELINE_PAUSE)

    def send_continue(self) -> None:
        """The client waits for a word before it sends its body."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def is_free(self) -> bool:
        """True while no request is in work or waits: what is written now answers the one being read."""
        return self._active is None and not self._queue

    # Limits in time

    def _set_deadline(self) -> None:
        if self._writer.is_paused or self._is_lingering:
            return
        if self._tunnel is not None or self._pauses:
            self.deadline = FOREVER
        elif self._reader.is_in_head:
            self.deadline = self._reader.head_began + self._limits.header_timeout_s
        elif self._reader.is_in_body:
            self.deadline = self._reader.body_deadline()
        elif self._active is not None:
            self.deadline = FOREVER
        else:
            self.deadline = self._loop.time() + self._limits.idle_timeout_s

    def time_out(self) -> None:
        """The deadline has passed."""
        if self._writer.is_paused:
            unsent = self._transport.get_write_buffer_size()
            if unsent >= self._unsent:
                self._transport.abort()
            self._unsent = unsent
            self.deadline = self._loop.time() + self._limits.write_timeout_s
        elif self._is_lingering or not self._is_reading:
            self._transport.abort()
        elif self._reader.is_in_head or self._reader.is_in_body:
            self._refuse(too_slow())
            self._pump()
        else:
            self._transport.close()

    def _pause_reading(self, why: int) -> None:
        if not self._pauses and not self._transport.is_closing():
            self._transport.pause_reading()
        self._pauses |= why

    def _resume_reading(self, why: int) -> None:
        if self._pauses & why:
            self._pauses &= ~why
            if not self._pauses and not self._transport.is_closing():
                self._transport.resume_reading()
                self._reader.restart_clock()
                self._set_deadline()

    # The end

    def close_when_idle(self) -> None:
        """Close now unless something is being asked or answered; the last answer will close it then."""
        if self._tunnel is None and self.is_free and self._reader.is_between and not self._is_lingering:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _refuse(self, response: Response) -> None:
        """Nothing more is read; what was asked before is still answered, then this."""
        self._is_reading = False
        for request in [self._active, *self._queue]:
            if isinstance(request, Request) and request.stream is not None:
                request.stream.feed_error(BodyBroken("The rest of the body cannot be read.", response.status))
        self._queue.append(response)

    def _linger(self) -> None:
        """Say that we are done, then throw away what still comes: closing at once would reset the connection."""
        self._is_reading = False
        self._is_lingering = True
        self._queue.clear()
        self._resume_reading(_BODY_PAUSE | _PIPELINE_PAUSE)
        self.deadline = self._loop.time() + LINGER_S
        if self._reader.is_broken or not self._reader.is_between:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        else:
            self._transport.close()

    # Answers

    def _pump(self) -> None:
        """Give the next request to the handler, and the next, as long as it answers at once."""
        while self._active is None and self._queue:
            item = self._queue.popleft()
            if isinstance(item, Response):
                self._write_whole(None, item, cast(bytes, item.body))
                self._linger()
                return
            self._active = item
            try:
                result = self._shared.handler(item)
                is_written = self._write_at_once(item, result)
            except Exception as error:
                result = failure(item, error)
                is_written = self._write_at_once(item, result)
            if is_written:
                self._finish(item, cast(Response, result))
            elif isinstance(result, asyncio.Future):  # a task to wait for it would cost as much as parsing the request
                self._task = result
                result.add_done_callback(partial(self._answered, item))
            else:
                self._task = self._loop.create_task(self._answer(item, result))
        if self._pauses & _PIPELINE_PAUSE and len(self._queue) <= self._limits.pipeline_max // 2:
            self._resume_reading(_PIPELINE_PAUSE)

    def _write_at_once(self, request: Request, result: Response | Awaitable[Response]) -> bool:
        if isinstance(result, Response) and isinstance(result.body, bytes) and result.tunnel is None:
            self._write_whole(request, result, result.body)
            return True
        return False

    def _answered(self, request: Request, result: asyncio.Future[Response]) -> None:
        if result.cancelled() or self._writer.is_lost:  # its client has gone
            return
        try:
            response = result.result()
        except Exception as error:
            response = failure(request, error)
        try:
            is_over = self._write_at_once(request, response) and not self._writer.is_paused
        except Exception as error:
            self._break_off(request, error)
            return
        if is_over:
            self._go_on(request, response)
        elif isinstance(response.body, bytes) and response.tunnel is None:
            self._task = self._loop.create_task(self._drained(request, response))
        else:
            self._task = self._loop.create_task(self._answer(request, response))

    async def _drained(self, request: Request, response: Response) -> None:
        """It is written, and its client is slower than we are."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
            self._go_on(request, response)

    def _go_on(self, request: Request, response: Response) -> None:
        self._task = None
        self._finish(request, response)
        self._pump()
        self._set_deadline()

    def _break_off(self, request: Request, error: Exception) -> None:
        log.error("The answer to %s %s broke off.", request.method, request.path, exc_info=error)
        self._transport.abort()

    async def _answer(self, request: Request, result: Response | Awaitable[Response]) -> None:
        try:
            response = result if isinstance(result, Response) else await result
        except Exception as error:
            response = failure(request, error)
        try:
            if response.tunnel is not None:
                await self._run_tunnel(request, response)
                return
            if isinstance(response.body, bytes):
                self._write_whole(request, response, response.body)
                if self._writer.is_paused:
                    await self._writer.drain()
            else:
                await self._write_stream(request, response, response.body)
        except ConnectionError:
            return
        except Exception as error:
            self._break_off(request, error)
            return
        self._go_on(request, response)

    def _finish(self, request: Request, response: Response) -> None:
        self._active = None
        if response.close:
            self._linger()
        elif request.upgrade:
            try:
                self._reader.go_on_after_upgrade()
            except Refused as refused:
                self._refuse(refused.response)

    def _write_whole(self, request: Request | None, response: Response, body: bytes) -> None:
        """Answer in one piece. A `content-length` of the handler's own stands for a body that HEAD or 304 leave out."""
        extra, length = self._framing(request, response)
        if length is None and response.status not in _ANSWERLESS:
            extra.append(b"content-length: %d" % len(body))
        if request is not None and (request.method == "HEAD" or response.status in _ANSWERLESS):
            body = b""
        elif length is not None and length != len(body):
            raise ValueError(f"The body has {len(body)} bytes, its content-length is {length}.")
        data = head(STATUS_LINES[response.status], response.headers, extra)
        if len(body) < 65_536:
            self._transport.write(data + body)
        else:
            self._transport.writelines((data, body))

    def _framing(self, request: Request | None, response: Response) -> tuple[list[bytes], int | None]:
        """The headers that are the connection's own affair, and the length that the handler gave."""
        length = None
        extra = [self._shared.date_line]
        for name, value in response.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"date":
                extra = []
        if self._must_close(request):
            response.close = True
        if response.close:
            extra.append(b"connection: close")
        elif request is not None and request.version == "1.0":
            extra.append(b"connection: keep-alive")
        return extra, length

    def _must_close(self, request: Request | None) -> bool:
        if request is None or not request.keep_alive or self._shared.is_draining:
            return True
        if not self._is_reading and not self._queue:  # what is behind it in the queue then is the refusal of the rest
            return True
        return request.stream is not None and not request.stream.is_complete

    async def _write_stream(self, request: Request, response: Response, body: AsyncIterator[bytes]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            close = getattr(body, "aclose", None)
            if close is not None:
                stack.push_async_callback(close)
            is_bodiless = request.method == "HEAD" or response.status in _ANSWERLESS
            extra, left = self._framing(request, response)
            is_chunked = left is None and request.version != "1.0" and not is_bodiless
            if is_chunked:
                extra.append(b"transfer-encoding: chunked")
            elif left is None and not is_bodiless and not response.close:
                response.close = True  # HTTP/1.0: the end of the connection is the end of the body
                extra[-1] = b"connection: close"
            self._transport.write(head(STATUS_LINES[response.status], response.headers, extra))
            if is_bodiless:
                return
            await self._write_parts(body, left, is_chunked=is_chunked)

    async def _write_parts(self, body: AsyncIterator[bytes], left: int | None, *, is_chunked: bool) -> None:
        """Send an iterator's bytes, `left` of them if so promised. Raises ValueError where it gives more or fewer."""
        async for part in body:
            if not part:
                continue
            if left is not None:
                left -= len(part)
                if left < 0:
                    raise ValueError("The body is longer than its content-length.")
            await self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
        if left:
            raise ValueError(f"The body is {left} bytes shorter than its content-length.")
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")

    async def _run_tunnel(self, request: Request, response: Response) -> None:
        assert response.tunnel is not None, "only called with a tunnel"
        incoming = Body(self._limits.buffer_max_bytes)
        incoming.pause = lambda: self._pause_reading(_BODY_PAUSE)
        incoming.resume = lambda: self._resume_reading(_BODY_PAUSE)
        leftover = self._reader.take_leftover()
        if leftover:
            incoming.feed(leftover)
        self._tunnel = Tunnel(incoming, self._writer)
        self._set_deadline()
        self._transport.write(head(STATUS_LINES[response.status], response.headers))
        try:
            await response.tunnel(self._tunnel)
        finally:
            self._transport.close()
