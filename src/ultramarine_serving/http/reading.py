"""Bytes in, requests out. llhttp parses; here is what a request may be."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any, Protocol

import httptools

from ultramarine_serving.http.body import Body
from ultramarine_serving.http.messages import Limits, Request, Response, problem
from ultramarine_serving.http.tls import SECRET
from ultramarine_serving.http.wire import is_origin_form


class Refused(Exception):
    """This client cannot be served on this connection any more; `response` tells it why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class TakesRequests(Protocol):
    """Where requests go."""

    @property
    def is_free(self) -> bool: ...
    def add(self, request: Request) -> None: ...
    def send_continue(self) -> None: ...


class RequestReader:
    """Feeds llhttp and is its callback object (`on_…`). After `Refused` it must not be fed again."""

    def __init__(self, sink: TakesRequests, limits: Limits, *, stream_bodies: bool) -> None:
        self._sink = sink
        self._limits = limits
        self._stream_bodies = stream_bodies
        self._parser: Any = httptools.HttpRequestParser(self)
        self._clock = asyncio.get_running_loop().time
        self._quiet_bytes = 0  #: received without any of it being a body: head, trailers, chunk extensions
        self._fed = 0  #: bytes of the piece being parsed
        self._waits_for_upgrade = False
        self._leftover = b""
        self.is_in_head = False
        self.is_in_body = False
        self.is_broken = False
        self.head_began = 0.0
        self._request: Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._expects_continue = False

    def feed(self, data: bytes) -> None:
        """Parse. Raises Refused."""
        if self._waits_for_upgrade:
            self._leftover += data
            if len(self._leftover) > self._limits.buffer_max_bytes:
                raise self._refused(413, "Too much before the upgrade", "Bytes came before 101.", "Wait for 101.")
            return
        self._fed = len(data)
        self._quiet_bytes += self._fed
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._request is None or self._request.method == "CONNECT":
                raise self._refused(405, "No proxy", "CONNECT is not served.", "Send the request itself.") from None
            self._waits_for_upgrade = True
            self._leftover = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                raise cause from None
            raise self._refused(400, "Not HTTP", f"{error}.", "Send well-formed HTTP/1.1.") from None
        if self._quiet_bytes > self._limits.header_max_bytes:
            raise self._head_too_large()
        if self._stream_bodies and self.is_in_body:
            self._begin_stream()

    def body_deadline(self) -> float:
        """When the body, as far as it has come, is too slow: silent for too long, or a trickle."""
        limits = self._limits
        silent = self._clock() + limits.body_timeout_s
        if self._stream_bodies:  # how fast it is read is its reader's affair
            return silent
        return min(silent, self.head_began + limits.body_timeout_s + self._size / limits.body_rate_min)

    def restart_clock(self) -> None:
        """It was us who did not read."""
        self.head_began = self._clock()

    @property
    def is_between(self) -> bool:
        """True while no part of a request has come."""
        return not (self.is_in_head or self.is_in_body or self._waits_for_upgrade)

    def go_on_after_upgrade(self) -> None:
        """The upgrade was declined: what followed it is HTTP after all. Raises Refused."""
        leftover = self.take_leftover()
        self._parser = httptools.HttpRequestParser(self)
        if leftover:
            self.feed(leftover)

    def take_leftover(self) -> bytes:
        """What came behind a request for an upgrade."""
        leftover, self._leftover = self._leftover, b""
        self._waits_for_upgrade = False
        return leftover

    def _refused(self, status: int, title: str, detail: str, hint: str) -> Refused:
        self.is_broken = True
        return Refused(problem(status, title, detail, hint=hint, close=True))

    def _head_too_large(self) -> Refused:
        limit = self._limits.header_max_bytes
        return self._refused(
            431, "Headers too large", f"The headers have more than {limit} bytes.", "Send fewer or shorter ones."
        )

    def _body_too_large(self) -> Refused:
        limit = self._limits.body_max_bytes
        return self._refused(413, "Body too large", f"The body has more than {limit} bytes.", "Send less at a time.")

    # Called by llhttp

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self.is_in_head = True
        self.head_began = self._clock()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:  # trailers are read over
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        most = self._limits.header_max_bytes
        if (
            self._quiet_bytes + self._fed > most
            and len(self._target) + sum(len(n) + len(v) + 4 for n, v in self._headers) > most
        ):
            raise self._head_too_large()
        self._quiet_bytes = 0
        parser = self._parser
        method: str = parser.get_method().decode()
        version: str = parser.get_http_version()
        length, expects_continue = self._check(method, version)
        if self._limits.secret:
            self._let_in()
        request = Request(method, self._target.decode("ascii"), self._headers)
        request.version = version
        request.keep_alive = parser.should_keep_alive()
        request.upgrade = parser.should_upgrade()
        self._request = request
        self.is_in_body = True
        self._parts = []
        self._size = 0
        self._expects_continue = expects_continue
        if self._stream_bodies:
            return  # with what else is in this piece: most bodies are whole then
        if length > self._limits.body_max_bytes:
            raise self._body_too_large()
        if expects_continue and self._sink.is_free:
            self._sink.send_continue()

    def _begin_stream(self) -> None:
        """Give the request on with what has come of its body, unless that was done."""
        request = self._request
        assert request is not None, "llhttp gives the headers first"
        if request.stream is not None:
            return
        request.stream = Body(self._limits.buffer_max_bytes)
        if self._expects_continue:
            request.stream.on_read = self._continue_once
        self._sink.add(request)
        for part in self._parts:
            request.stream.feed(part)

    def _continue_once(self) -> None:
        stream = self._request.stream if self._request is not None else None
        if stream is not None:
            stream.on_read = _nothing
            if not stream.total:
                self._sink.send_continue()

    def _check(self, method: str, version: str) -> tuple[int, bool]:
        """Refuse what proxies are known to read differently. Returns the declared length and whether 100 is awaited."""
        if version not in ("1.1", "1.0"):
            raise self._refused(505, "Not this version", f"HTTP/{version} is not spoken here.", "Use HTTP/1.1.")
        if not is_origin_form(self._target) and not (method == "OPTIONS" and self._target == b"*"):
            raise self._refused(
                400, "Not a path", "The request's target is no plain path.", "Send /path?query, no URL, no fragment."
            )
        hosts = length = 0
        expects_continue = False
        for name, value in self._headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                raise self._refused(
                    501, "Unknown transfer-encoding", "Only chunked is known.", "Send chunks or a content-length."
                )
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise self._refused(
                        417, "Unknown expectation", "Only 100-continue is known.", "Leave the header out."
                    )
                expects_continue = version == "1.1"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise self._refused(400, "Host missing", f"The request has {hosts} host headers.", "Send exactly one.")
        return length, expects_continue

    def _let_in(self) -> None:
        """Refuse who does not know the secret, before a byte of the body is kept. Nobody behind us is shown it."""
        said = [value for name, value in self._headers if name == SECRET]
        if len(said) != 1 or not hmac.compare_digest(said[0], self._limits.secret):
            raise self._refused(401, "Not for you", "This server answers its gateway alone.", "Ask the endpoint.")
        self._headers = [pair for pair in self._headers if pair[0] != SECRET]

    def on_body(self, data: bytes) -> None:
        self._quiet_bytes = 0
        assert self._request is not None, "llhttp gives the headers first"
        if self._request.stream is not None:
            self._request.stream.feed(data)
            return
        self._size += len(data)
        if self._size > self._limits.body_max_bytes and not self._stream_bodies:
            raise self._body_too_large()
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self._quiet_bytes = 0
        self.is_in_body = False
        request = self._request
        assert request is not None, "llhttp gives the headers first"
        if request.stream is not None:
            request.stream.feed_end()
            return
        parts = self._parts
        request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._sink.add(request)


def too_slow() -> Response:
    """408: the request has not arrived whole in time."""
    hint = "Send it again, without a pause in it."
    return problem(408, "Request too slow", "The request did not arrive whole in time.", hint=hint)


def _nothing() -> None:
    pass
