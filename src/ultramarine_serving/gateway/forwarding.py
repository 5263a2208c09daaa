"""What goes to an upstream and what comes back from it: headers, bodies, request ids."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable

from ultramarine_serving.gateway.cookies import is_ours
from ultramarine_serving.http.client import Answer
from ultramarine_serving.http.messages import Request, Response, problem
from ultramarine_serving.http.tunnel import Tunnel, join
from ultramarine_serving.http.wire import HOP_BY_HOP, Headers, end_to_end, head

UPGRADE = ((b"connection", b"upgrade"), (b"upgrade", b"websocket"))

#: Said by us, or of no concern to an upstream. The client's word on where it comes from counts for nothing.
DROPPED = HOP_BY_HOP | {
    *(b"cookie", b"expect", b"content-length", b"forwarded"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"),
}

_TRACE = frozenset((b"traceparent", b"tracestate"))
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?")
_TRACE_ID = re.compile(rb"(?!0{32})[0-9a-f]{32}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class _Randomness:
    """The system's own, taken in large pieces: asking for a few bytes costs as much as for many."""

    def __init__(self) -> None:
        self._digits = b""
        self._at = 0

    def digits(self, many: int) -> bytes:
        """Hexadecimal ones."""
        begin, end = self._at, self._at + many
        if end > len(self._digits):
            self._digits = os.urandom(8192).hex().encode()
            begin, end = 0, many
        self._at = end
        return self._digits[begin:end]


_random = _Randomness()


def request_id(request: Request) -> bytes:
    """The client's own, if it is a plain word of at most 128 characters, else a new one of 128 random bits."""
    given = request.header(b"x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else _random.digits(32)


def onward_headers(request: Request, id: bytes, *, drop: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The request's headers for the next hop, without framing and what is in `drop`: DROPPED at least."""
    headers = request.headers
    named: list[tuple[bytes, bytes]] = end_to_end(headers) if request.header(b"connection") else headers
    made = [pair for pair in named if pair[0] not in drop]
    made.append((b"x-request-id", id))
    made.append((b"x-forwarded-for", request.client.encode() or b"unix"))
    made.append((b"x-forwarded-proto", request.scheme.encode()))
    return made


def trace(headers: list[tuple[bytes, bytes]], id: bytes) -> list[tuple[bytes, bytes]]:
    """With the client's own W3C trace context if it is a good one, else with that of a trace that begins here."""
    given = [pair for pair in headers if pair[0] in _TRACE]
    if given:
        parents = [value for name, value in given if name == b"traceparent"]
        match = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
        if match is not None and not (match["more"] and parents[0].startswith(b"00")):
            return headers
        headers = [pair for pair in headers if pair[0] not in _TRACE]
    known = id if _TRACE_ID.fullmatch(id) else _random.digits(32)
    return [*headers, (b"traceparent", b"00-%b-%b-01" % (known, _random.digits(16)))]


def is_websocket(request: Request) -> bool:
    return request.upgrade and request.header(b"upgrade").lower() == b"websocket"


def onward_head(request: Request, target: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of the request for the next hop. Header values were checked by the parser."""
    return head(f"{request.method} {target} HTTP/1.1".encode(), headers)


def framing(request: Request, headers: list[tuple[bytes, bytes]]) -> tuple[bytes | AsyncIterator[bytes], bool]:
    """The body as it is to be sent, and whether in chunks; the header that says so is added to `headers`."""
    stream = request.stream
    length = request.header(b"content-length")
    if stream is None:
        if request.body or length:
            headers.append((b"content-length", b"%d" % len(request.body)))
        return request.body, False
    if length:
        headers.append((b"content-length", length))
        return stream, False
    headers.append((b"transfer-encoding", b"chunked"))
    return stream, True


class Passing:
    """A body on its way from an upstream to a client. Closing it in the middle gives the upstream's connection up."""

    def __init__(self, answer: Answer, on_end: Callable[[], None]) -> None:
        self._answer = answer
        self._on_end = on_end
        self._has_ended = False

    def __aiter__(self) -> Passing:
        return self

    async def __anext__(self) -> bytes:
        data = await self._answer.body.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Called by the server in any case, once the body was sent or cannot be."""
        if not self._has_ended:
            self._has_ended = True
            self._answer.close()
            self._on_end()


def onward_answer(request: Request, answer: Answer, extra: Headers, *, on_end: Callable[[], None]) -> Response:
    """The answer for the client. `on_end` is called exactly once, when nothing of it is under way any more."""
    if answer.tunnel is not None:
        return _onward_tunnel(request, answer, answer.tunnel, on_end)
    headers = [pair for pair in end_to_end(answer.headers) if not _lets_in(pair)]
    headers += extra
    if request.method == "HEAD" or answer.status == 304:
        answer.close()
        on_end()
        return Response(answer.status, headers)
    if answer.body.is_complete:
        body = answer.body.take()
        on_end()
        if not body:  # then its length is for the server to say, or to leave out
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        return Response(answer.status, headers, body)
    return Response(answer.status, headers, Passing(answer, on_end))


def _onward_tunnel(request: Request, answer: Answer, upstream: Tunnel, on_end: Callable[[], None]) -> Response:
    if not is_websocket(request):
        answer.close()
        on_end()
        hint = "Report it with the time of day."
        return problem(502, "Upstream broke off", "It switched protocols unasked.", hint=hint)

    async def run(client: Tunnel) -> None:
        try:
            await join(client, upstream)
        finally:
            answer.close()
            on_end()

    return Response(
        101, [pair for pair in answer.headers if pair[0] != b"keep-alive" and not _lets_in(pair)], tunnel=run
    )


def _lets_in(header: tuple[bytes, bytes]) -> bool:
    """No upstream may set a cookie that lets people in."""
    return header[0] == b"set-cookie" and is_ours(header[1])
