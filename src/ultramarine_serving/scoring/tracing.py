"""W3C trace context and request ids: who asked, in the words of those who look for one request in many logs.

Pure. The gateway sets `x-request-id` and passes `traceparent` on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_KNOWN = {
    "x-request-id": re.compile(r"[A-Za-z0-9._-]{1,128}"),
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
}


def readable(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as text, by name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """`x-request-id` and `traceparent` of a request, those that it has and that are well formed."""
    return {name: headers[name] for name, form in _KNOWN.items() if form.fullmatch(headers.get(name, ""))}


def words_of(headers: Mapping[str, str]) -> str:
    """The same for a line of the log: ` (x-request-id 7f…, traceparent 00-…)`, or nothing."""
    found = ", ".join(f"{name} {value}" for name, value in trace_of(headers).items())
    return f" ({found})" if found else ""
