"""Heads as bytes: what is sent before a body, checked so that no header can smuggle another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

Headers = Sequence["tuple[bytes, bytes]"]

STATUS_LINES = {
    status: f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in set(HTTPStatus) else 'Status'}".encode()
    for status in range(100, 600)
}

#: RFC 9110, 7.6.1: meant for the next hop only.
HOP_BY_HOP = frozenset(
    name.encode()
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
    ]
) | {b"transfer-encoding", b"upgrade"}

_LINE = b": ".join
_TARGET = re.compile(rb"/[!-\"$-~]*")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def is_origin_form(target: bytes) -> bool:
    """True for `/path?query` of visible ASCII without a fragment."""
    return _TARGET.fullmatch(target) is not None


def head(first_line: bytes, headers: Headers, extra: Sequence[bytes] = ()) -> bytes:
    """A whole head with its empty line. Raises ValueError where a header holds a line break."""
    lines = [first_line, *map(_LINE, headers), *extra, b"\r\n"]
    made = b"\r\n".join(lines)
    if not made.count(b"\n") == made.count(b"\r") == len(lines):
        raise ValueError("A header holds a line break.")
    return made


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that may go on to the next hop: not hop-by-hop, not named by `connection`. Names are lower-case."""
    named: set[bytes] | None = None
    for name, value in headers:
        if name == b"connection":
            named = named or set()
            named.update(token.strip() for token in value.lower().split(b","))
    if named is None:
        return [pair for pair in headers if pair[0] not in HOP_BY_HOP]
    return [pair for pair in headers if pair[0] not in HOP_BY_HOP and pair[0] not in named]


def is_token(text: bytes) -> bool:
    return _TOKEN.fullmatch(text) is not None
