"""Which paths may be matched by prefix. Nothing is normalised: a path that could mean two things is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote

from ultramarine_serving.http.messages import Response, problem

_SUSPICIOUS = re.compile(r"%|//|\\|/\.")
_DECODE_ROUNDS_MAX = 4


def _plain(path: str) -> str:
    """What a lenient upstream could make of it, decoding more than once."""
    for _ in range(_DECODE_ROUNDS_MAX):
        decoded = unquote(path, errors="replace")
        if decoded == path:
            break
        path = decoded
    return path.replace("\\", "/")


def is_ambiguous(path: str) -> bool:
    """True if, read leniently, it has a `..` segment or a NUL: it could leave the prefix that it was matched by."""
    if not _SUSPICIOUS.search(path):
        return False
    plain = _plain(path)
    return "\0" in plain or ".." in (segment.split(";")[0] for segment in plain.split("/"))


def ambiguous() -> Response:
    detail, hint = "The path has a '..' in it.", "Send the path that you mean."
    return problem(400, "Ambiguous path", detail, hint=hint, close=True)


def is_internal(path: str) -> bool:
    """True if, read leniently, it lies under `/internal`, which is between the gateway and the control plane."""
    if not _SUSPICIOUS.search(path):
        return path[:9].lower() == "/internal" and path[9:10] in ("", "/", ";")
    segments = [segment for segment in _plain(path).split("/") if segment not in ("", ".")]
    return bool(segments) and segments[0].lower().split(";")[0] == "internal"
