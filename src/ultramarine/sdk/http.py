"""Requests to the server, over the standard library's client: httpx takes too long to import."""

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from ultramarine import __version__
from ultramarine.domain.errors import InvalidInput, Unavailable
from ultramarine.sdk.connection import Connection
from ultramarine.sdk.problems import error_of
from ultramarine.sdk.sse import Event, parse
from ultramarine.sdk.trust import context, unbelieved

View = dict[str, Any]
Body = bytes | IO[bytes] | None
ROWS_MAX = 1000  #: that the server gives at once
TIMEOUT_S = 60.0  #: an event stream says something every 15 s
RECONNECT_WITHIN_S = 120.0
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 5.0
_BROKEN = (OSError, http.client.HTTPException)
_CUT_OFF = (ConnectionError, TimeoutError, http.client.HTTPException)  #: while an answer is read; not: a full disk


class Client:
    """One server, one token. Its connection stays open between requests; it is not for several threads at once."""

    def __init__(
        self, connection: Connection, *, sleep: Callable[[float], None] = time.sleep, page_rows: int = ROWS_MAX
    ) -> None:
        self.connection = connection
        self._page_rows = page_rows
        self._sleep = sleep
        self._kept: http.client.HTTPConnection | None = None
        self._trusted: ssl.SSLContext | None = None

    def get(self, path: str, **query: object) -> Any:
        """The JSON at `path`. Parameters that are None or "" are not sent."""
        return self.call("GET", with_query(path, query))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send `body` as JSON, and read the answer's; None where it has none."""
        content = None if body is None else json.dumps(body).encode()
        answered = self.send(
            method, path, content, headers={"Content-Type": "application/json"} if content is not None else {}
        )
        return json.loads(answered) if answered else None

    def pages(self, path: str, *, after: object = None, limit: int | None = None, **query: object) -> Iterator[View]:
        """The rows of a list, page after page until there are no more, or `limit` are given."""
        left = limit
        while left is None or left > 0:
            page = self.get(
                path, **query, after=after, limit=self._page_rows if left is None else min(left, self._page_rows)
            )
            yield from page["value"]
            left = None if left is None else left - len(page["value"])
            after = page["next"]
            if after is None:
                return

    def send(self, method: str, path: str, body: Body = None, *, headers: Mapping[str, str] | None = None) -> bytes:
        """Send a request and read the whole answer. Raises the error that the answer carries, or `Unavailable`."""
        with self._answered(method, path, body, headers or {}) as answer, self._told_when_cut_off():
            return answer.read()

    @contextlib.contextmanager
    def opened(self, path: str, headers: Mapping[str, str] | None = None) -> Generator[http.client.HTTPResponse]:
        """An answer that is read piece by piece, on a connection of its own."""
        with contextlib.closing(self._connect()) as connection, self._told_when_cut_off():
            yield self._ask(connection, "GET", path, None, headers or {})

    @contextlib.contextmanager
    def _told_when_cut_off(self) -> Generator[None]:
        """A server that dies in the middle of its answer is one that does not answer."""
        try:
            yield
        except _CUT_OFF as error:
            raise self._unreachable(error) from error

    def events(self, path: str) -> Iterator[Event]:
        """Server-sent events without end; where the connection breaks it goes on after the last one that was read."""
        last_id, backoff, broken_since = "", BACKOFF_MIN_S, None
        while True:
            try:
                with self.opened(
                    path, {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
                ) as answer:
                    for event in parse(answer):
                        last_id, backoff, broken_since = event.id or last_id, BACKOFF_MIN_S, None
                        yield event
            except (Unavailable, *_BROKEN) as error:
                now = time.monotonic()
                broken_since = broken_since or now
                if now - broken_since > RECONNECT_WITHIN_S:
                    raise self._unreachable(error) from error
            self._sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_MAX_S)

    @contextlib.contextmanager
    def _answered(
        self, method: str, path: str, body: Body, headers: Mapping[str, str]
    ) -> Generator[http.client.HTTPResponse]:
        kept, self._kept = self._kept, None
        if kept is not None and (method == "POST" or not isinstance(body, bytes | None)):
            kept.close()  # what cannot be sent twice is not sent into a connection that may be dead
            kept = None
        connection = kept or self._connect()
        try:
            try:
                answer = self._ask(connection, method, path, body, headers)
            except Unavailable:
                if kept is None:
                    raise
                connection.close()
                connection = self._connect()
                answer = self._ask(connection, method, path, body, headers)
            yield answer
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._kept = connection

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Body, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        ours = {"Accept": "application/json", "User-Agent": f"ultramarine/{__version__}"}
        if self.connection.token:
            ours["Authorization"] = f"Bearer {self.connection.token}"
        try:
            connection.request(method, path, body, ours | dict(headers))
            answer = connection.getresponse()
            if answer.status < 400:
                return answer
            content = answer.read()
        except _BROKEN as error:
            raise self._unreachable(error) from error
        raise error_of(answer.status, content, request=f"{method} {path}")

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.connection.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        if self._trusted is None:
            self._trusted = context(self.connection.ca_file)
        return http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=self._trusted)

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, ssl.SSLError):
            return unbelieved(error, self.connection.url)
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, ConnectionResetError) and self.connection.url.startswith(
            "http:"
        ):  # also: it just hangs up
            return Unavailable(
                f"What listens at {self.connection.url} hangs up on plain HTTP: {why}.",
                hint="Ports of um up --listen speak TLS: write https:// into the server's address.",
            )
        return Unavailable(
            f"The server at {self.connection.url} does not answer: {why}.",
            hint="um status shows what runs here, um up -d starts it; for another server set ULTRAMARINE_URL.",
        )


def part(text: str) -> str:
    """A name as one part of an address. Raises InvalidInput for one that would not be a part."""
    if not text or text in (".", "..") or "/" in text or "\\" in text:
        raise InvalidInput(
            f"{text[:120]!r} cannot be a name.",
            hint="Use letters, digits, '-', '_' and '.', beginning with a letter or digit.",
        )
    return quote(text, safe="")


def with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
