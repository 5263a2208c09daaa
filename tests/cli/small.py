"""A small server of a test's own, for what the real one would take long to bring about."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Small(ThreadingHTTPServer):
    """Answers JSON, as `answer` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.headers: dict[str, str] = {}  #: of every answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, body: bytes, headers: Message) -> tuple[int, Any]:
        """Status and content."""
        raise NotImplementedError


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Small)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = self.server.answer(self.command, self.path, body, self.headers)
        encoded = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**self.server.headers, "Content-Length": str(len(encoded))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(encoded)

    do_PUT = do_POST = do_PATCH = do_GET  # noqa: N815  (names that the library calls)

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def serving(server: Small, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Commands find it, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("ULTRAMARINE_URL", server.url)
    monkeypatch.setenv("ULTRAMARINE_TOKEN", "t")
    yield
    server.shutdown()
    thread.join()
    server.server_close()
