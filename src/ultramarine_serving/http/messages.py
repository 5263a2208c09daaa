"""What a handler is given and what it gives back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ultramarine_serving.http.body import Body
from ultramarine_serving.http.tunnel import Tunnel
from ultramarine_serving.http.wire import Headers


@dataclass(frozen=True)
class Limits:
    """What a client may cost, and must know. Else it is refused with a reason and the connection closed."""

    body_max_bytes: int = 16_777_216  #: 413 above it; not looked at when bodies are streamed
    header_max_bytes: int = 65_536  #: request line and headers (and trailers); 431 above it
    header_timeout_s: float = 10.0  #: from the first byte of a request to the end of its headers; 408 after it
    handshake_timeout_s: float = 10.0  #: of TLS, from the connection to the first request; cut off after it
    body_timeout_s: float = 60.0  #: without a byte of a body that is not whole; 408 after it
    body_rate_min: int = (
        1024  #: bytes a second of a body, after the first body_timeout_s; 408 below it; whole ones only
    )
    write_timeout_s: float = 60.0  #: without the client taking a byte of the answer; cut off after it
    idle_timeout_s: float = 75.0  #: between two requests; closed after it
    pipeline_max: int = 32  #: requests of one connection waiting behind the one in work; not read further above it
    buffer_max_bytes: int = 262_144  #: of a streamed body not yet read by the handler; not read further above it
    connections_max: int = 8192  #: of one server; more are closed at once
    secret: bytes = field(default=b"", repr=False)  #: in its header (`tls.SECRET`), else 401; empty: nobody is asked


class Request:
    """One request. Header names are lower-case. `path` and `query` are as sent: still percent-encoded."""

    __slots__ = (
        "body",
        "client",
        "client_gone",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "scheme",
        "stream",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, target: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target  #: path and query
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.version = "1.1"
        self.keep_alive = True
        self.upgrade = (
            False  #: the client asks for another protocol; answer 101 with `tunnel`, or anything else to go on
        )
        self.client = ""  #: host of the peer; empty on a Unix socket
        self.scheme = "http"  #: or "https": it came by TLS
        self.client_gone = False  #: True once the connection is lost: nobody waits for the answer
        self.body = b""  #: the whole body, unless there is a `stream`
        self.stream: Body | None = None  #: with `stream_bodies`: a body that is not whole yet, as it arrives

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """The first header of this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return default


class Response:
    """One answer. The server adds `date`, `connection`, and framing: a length for bytes, chunks for an iterator.

    Header names are lower-case. An iterator's `aclose`, if it has one, is called in any case.
    `tunnel`, with status 101: called with the raw connection once the head is out; the connection ends when it returns.
    """

    __slots__ = ("body", "close", "headers", "status", "tunnel")

    def __init__(
        self,
        status: int = 200,
        headers: Headers = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        close: bool = False,
        tunnel: Callable[[Tunnel], Awaitable[None]] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.close = close  #: end the connection after this answer
        self.tunnel = tunnel


class Handler(Protocol):
    """May answer at once (no task is made for it) or later; it is cancelled then when the client goes."""

    def __call__(self, request: Request, /) -> Response | Awaitable[Response]: ...


def problem(status: int, title: str, detail: str, *, hint: str, headers: Headers = (), close: bool = False) -> Response:
    """An `application/problem+json` answer (RFC 9457): what happened, why, and what the caller should do (`hint`)."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, "hint": hint})
    return Response(status, [(b"content-type", b"application/problem+json"), *headers], body.encode(), close=close)
