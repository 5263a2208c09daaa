"""HTTP to the control plane, over a Unix socket or TCP: one kept connection per channel."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from . import trust

_CHUNK = 1 << 20
JSON = "application/json"
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 5.0


class Unreachable(Exception):
    """No answer, or one that says "later" (5xx): ask again."""


class Dismissed(Exception):
    """401 or 410: this node's allocation is over. `status` is which."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The control plane answered {status}: this allocation is over.")
        self.status = status


class Refused(Exception):
    """An answer that repeating will not change; its words are the control plane's."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    content: bytes

    def json(self) -> Any:
        """The body as JSON; Unreachable when it is none (something else answered)."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise Unreachable(f"The answer is no JSON: {self.content[:80]!r}.") from error


def backoff() -> Iterator[float]:
    """Seconds to wait before asking again: 0.1, doubling, at most 5."""
    wait = BACKOFF_FIRST_S
    while True:
        yield wait
        wait = min(wait * 2, BACKOFF_LAST_S)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Channel:
    """One connection, for one thread. Every request may be repeated, so a kept connection that died is replaced.

    `ca`: PEM of what is trusted by https; None: what this machine trusts.
    """

    def __init__(self, url: str, *, ca: str | None = None, token: str = "", timeout_s: float = 30.0) -> None:
        self._url = url
        self._ca = ca
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self.token = token
        self.local_address = "127.0.0.1"  #: by which this machine last reached the control plane: its peers find it so

    def request(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        *,
        size: int | None = None,
        timeout_s: float | None = None,
        content_type: str = "application/octet-stream",
    ) -> Answer:
        """The answer, whatever 2xx, 3xx or 4xx it is; Unreachable and Dismissed are raised. `size`: of a file body."""
        headers = {} if body is None else {"Content-Type": content_type}
        response = self._send(method, path, body, size=size, headers=headers, timeout_s=timeout_s)
        try:
            answer = Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{method} {path}: the answer broke off: {error}.") from error
        if answer.status in (401, 410):
            raise Dismissed(answer.status)
        if answer.status >= 500:
            raise Unreachable(f"{method} {path}: {answer.status} {words(answer)}")
        return answer

    def fetch(self, path: str, into: IO[bytes], *, offset: int = 0) -> int:
        """Append the body from byte `offset` on to `into`; the bytes written. Refused on 4xx."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._send("GET", path, None, size=None, headers=headers, timeout_s=None)
        try:
            if response.status not in (200, 206):
                self._raise(path, Answer(response.status, response.read()))
            if response.status == 200 and offset:
                into.seek(0)
                into.truncate()
            written = 0
            while chunk := response.read(_CHUNK):
                into.write(chunk)
                written += len(chunk)
            if response.length:  # read() with a size says nothing when the other side leaves early
                raise http.client.IncompleteRead(b"", response.length)
            return written
        except (http.client.HTTPException, ConnectionError, socket.timeout) as error:
            self.close()
            raise Unreachable(f"GET {path}: the answer broke off: {error}.") from error

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _raise(self, path: str, answer: Answer) -> None:
        if answer.status in (401, 410):
            raise Dismissed(answer.status)
        if answer.status >= 500:
            raise Unreachable(f"GET {path}: {answer.status} {words(answer)}")
        raise Refused(answer.status, f"GET {path}: {answer.status} {words(answer)}")

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        *,
        size: int | None,
        headers: Mapping[str, str],
        timeout_s: float | None,
    ) -> http.client.HTTPResponse:
        complete = {"Authorization": f"Bearer {self.token}", **headers} if self.token else dict(headers)
        if size is not None:
            complete["Content-Length"] = str(size)
        for is_last in (self._connection is None, True):
            connection = self._connected(timeout_s or self._timeout_s)
            try:
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
                connection.request(method, path, body, complete)
                if connection.sock.family != socket.AF_UNIX:
                    self.local_address = str(connection.sock.getsockname()[0])
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection may have been closed by the other side meanwhile; a time-out was not that.
                if is_last or isinstance(error, socket.timeout):
                    raise Unreachable(f"{method} {path}: {self._why(error)}") from error
        raise AssertionError("unreachable")

    def _why(self, error: Exception) -> str:
        return trust.words(error, self._url) if isinstance(error, OSError) else f"{type(error).__name__} {error}."

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._make(timeout_s)
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _make(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._url.startswith("unix:"):
            return _UnixConnection(self._url[len("unix:") :], timeout_s)
        parts = urlsplit(self._url)
        host = parts.hostname or "localhost"
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=trust.context(self._ca))
        return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def words(answer: Answer) -> str:
    """What an answer that is no success says, for a person."""
    try:
        raw = json.loads(answer.content)
        return " ".join(str(raw[part]) for part in ("detail", "hint") if raw.get(part)) or str(raw)[:200]
    except (ValueError, AttributeError):
        return answer.content[:200].decode(errors="replace")


def size_of(file: IO[bytes]) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size
