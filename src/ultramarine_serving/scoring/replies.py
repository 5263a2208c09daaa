"""What a script's `run()` returned, as an answer: JSON, bytes, a response of its own, or parts that come one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ultramarine_serving.http.server import Response

from .answers import encode

END = object()  #: instead of a part: there are no more
EVENTS = "text/event-stream"
_EVENT_FIELDS = ("data:", "event:", "id:", "retry:", ":")


@dataclass(frozen=True)
class Reply:
    """What the script answered. A streamed body is an iterator of parts, asynchronous or not."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | Iterator[object] | AsyncIterator[object]


def reply_of(returned: object) -> Reply:
    """What `run()` returned, as an answer.

    A response object (flask, AMLResponse, Starlette) is sent as it is, bytes too, and a generator part by part. All
    else becomes JSON, a string also: clients written for Azure expect `"text"` in quotes. None is `{}`, as there.
    """
    if isinstance(returned, (bytes, bytearray)):
        return Reply(status=200, headers=[("content-type", "application/octet-stream")], body=bytes(returned))
    if isinstance(returned, (Iterator, AsyncIterator)):
        return Reply(status=200, headers=(), body=cast("Iterator[object] | AsyncIterator[object]", returned))
    status: Any = getattr(returned, "status_code", None)
    headers: Any = getattr(returned, "headers", None)
    if isinstance(status, int) and hasattr(headers, "items"):
        return Reply(status=status, headers=_sendable(headers), body=_content(returned))
    return Reply(
        status=200, headers=[("content-type", "application/json")], body=encode({} if returned is None else returned)
    )


class Parts:
    """A streamed answer: each part is fetched when the client has taken those before. Closing it ends the generator."""

    def __init__(
        self,
        first: object,
        *,
        write: Callable[[object], bytes],
        pull: Callable[[], asyncio.Future[Any]],
        close: Callable[[], asyncio.Future[Any]],
    ) -> None:
        self._next = first
        self._has_next = True
        self._write = write
        self._pull = pull
        self._close = close

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> bytes:
        part = self._next if self._has_next else await self._pull()
        self._next, self._has_next = None, False
        if part is END:
            raise StopAsyncIteration
        return self._write(part)

    async def aclose(self) -> None:
        """The client has all, or has gone."""
        await self._close()


def streamed(
    reply: Reply,
    first: object,
    *,
    accept: str,
    pull: Callable[[], asyncio.Future[Any]],
    close: Callable[[], asyncio.Future[Any]],
) -> Response:
    """The answer whose first part is there. That says what the others are, unless the script has said it."""
    content_type, write = _form(first, accept)
    headers = dict(reply.headers)
    if headers.setdefault("content-type", content_type).startswith(EVENTS):
        write = _event
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return Response(reply.status, encoded, Parts(first, write=write, pull=pull, close=close))


def _form(first: object, accept: str) -> tuple[str, Callable[[object], bytes]]:
    if EVENTS in accept or (isinstance(first, str) and _is_event(first)):
        return EVENTS, _event
    if isinstance(first, (bytes, bytearray)):
        return "application/octet-stream", _plain
    if isinstance(first, str) or first is END:
        return "text/plain; charset=utf-8", _plain
    return "application/x-ndjson", _line


def _plain(part: object) -> bytes:
    if isinstance(part, (bytes, bytearray)):
        return bytes(part)
    return part.encode() if isinstance(part, str) else encode(part)


def _line(part: object) -> bytes:
    return encode(part) + b"\n"


def _event(part: object) -> bytes:
    """A server-sent event. What is one already, or bytes, is sent as it is."""
    if isinstance(part, (bytes, bytearray)):
        return bytes(part)
    text = part if isinstance(part, str) else encode(part).decode()
    if _is_event(text):
        return text.encode()
    return "".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n"


def _is_event(text: str) -> bool:
    return text.startswith(_EVENT_FIELDS) and text.endswith("\n\n")


def _sendable(headers: Any) -> list[tuple[str, str]]:
    """A response's own headers, but those that the server sets itself."""
    own = {"content-length", "connection", "transfer-encoding", "date", "server"}
    return [(str(name).lower(), str(value)) for name, value in headers.items() if str(name).lower() not in own]


def _content(response: Any) -> bytes | Iterator[object] | AsyncIterator[object]:
    if getattr(response, "is_streamed", False):  # flask
        return iter(response.iter_encoded())
    for name in ("body_iterator", "get_data", "content", "body"):
        found = getattr(response, name, None)
        content = found() if callable(found) else found
        if isinstance(content, (bytes, bytearray)):
            return bytes(content)
        if isinstance(content, (Iterator, AsyncIterator)):
            return cast("Iterator[object] | AsyncIterator[object]", content)
    raise TypeError(f"run() returned a {type(response).__name__}, whose content cannot be read. Return JSON or bytes.")
