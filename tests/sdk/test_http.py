"""Requests over connections that break."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from ultramarine.domain.errors import AlreadyExists, InvalidInput, NotFound, UltramarineError, Unavailable
from ultramarine.sdk.connection import Connection
from ultramarine.sdk.http import Client, with_query
from ultramarine.sdk.problems import error_of
from ultramarine.sdk.sse import Event, parse


class Breaking(BaseHTTPRequestHandler):
    """Tells one event for each connection, then cuts it off; closes a connection that it said it would keep."""

    protocol_version = "HTTP/1.1"
    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(f"{self.path} {self.headers.get('Last-Event-ID', '-')}")
        if self.path == "/plain":
            self._answer(b'{"value": 1}')
            self.close_connection = True  # not told: a server that is started again does so
            return
        if self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "14")
            self.end_headers()
            self.close_connection = True  # a server that is killed does so
            return
        number = int(self.headers.get("Last-Event-ID") or 0) + 1
        kind = "end" if number == 3 else "log"
        whole = f"event: {kind}\nid: {number}\ndata: {json.dumps({'number': number})}\n\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write((whole + 'event: log\nid: 99\ndata: {"number":').encode())
        self.close_connection = True

    def do_POST(self) -> None:
        self.heard.append("POST")
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def client() -> Iterator[Client]:
    Breaking.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield Client(Connection(url=url, token="t", workspace="w"), sleep=lambda _: None)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stream_goes_on_after_the_last_whole_event(client: Client):
    seen: list[Event] = []
    for event in client.events("/stream"):
        seen.append(event)
        if event.kind == "end":
            break
    assert [event.data["number"] for event in seen] == [1, 2, 3]
    assert Breaking.heard == ["/stream -", "/stream 1", "/stream 2"]


def test_a_kept_connection_that_died_is_made_again(client: Client):
    assert [client.get("/plain"), client.get("/plain")] == [{"value": 1}] * 2
    assert len(Breaking.heard) == 2


def test_an_answer_that_is_cut_off_says_that_the_server_does_not_answer(client: Client):
    with pytest.raises(Unavailable, match="does not answer"):
        client.get("/half")
    with pytest.raises(Unavailable, match="does not answer"), client.opened("/half") as answer:
        answer.read()


def test_a_post_is_never_sent_into_a_connection_that_may_be_dead(client: Client):
    client.get("/plain")
    client.call("POST", "/tokens", {})
    assert Breaking.heard.count("POST") == 1


def test_a_server_that_is_not_there_is_named_with_what_to_do():
    nobody = Client(Connection(url="http://127.0.0.1:1", token="", workspace="w"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer: Connection refused") as refused:
        nobody.get("/x")
    assert "um up -d" in refused.value.hint


def test_events_are_read_whole_or_not_at_all():
    lines = b': still here\n\nevent: log\nid: 7\ndata: {"a":\ndata: 1}\n\nevent: log\ndata: {}\n'.splitlines(
        keepends=True
    )
    assert list(parse(lines)) == [Event(kind="log", data={"a": 1}, id="7")]


@pytest.mark.parametrize(
    ("status", "content", "kind", "words"),
    [
        (409, b'{"code": "already-exists", "detail": "d", "hint": "h"}', AlreadyExists, "d"),
        (422, b'{"code": "not-supported-yet", "detail": "d", "hint": "h"}', InvalidInput, "d"),
        (404, b"<html>", NotFound, "GET /x was answered with status 404: <html>"),
        (503, b"", Unavailable, "no words"),
        (500, b'{"code": "bug", "detail": "trace 7", "hint": "look"}', UltramarineError, "trace 7"),
        (422, b'{"code": "of-a-newer-server", "detail": "d", "hint": "h"}', InvalidInput, "d"),
        (418, b'["tea"]', UltramarineError, "status 418"),
    ],
)
def test_an_error_answer_is_the_error_it_was(status: int, content: bytes, kind: type[UltramarineError], words: str):
    error = error_of(status, content, request="GET /x")
    assert isinstance(error, kind)
    assert words in str(error)
    assert error.hint


def test_parameters_without_a_value_are_not_sent():
    assert with_query("/a", {"b": 1, "c": None, "d": ""}) == "/a?b=1"
    assert with_query("/a", {"b": None}) == "/a"
