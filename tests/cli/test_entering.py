"""Links into compute instances: printed, given as data, opened where a browser has a place to appear."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.cli.conftest import Um

from ultramarine.cli import entering
from ultramarine.cli.command import FAILED, NOT_FOUND, OK, USAGE
from ultramarine.cli.talk import Talk

LINK, BOARD = "http://127.0.0.1:7772/login?code=c0de", "http://127.0.0.1:7772/login?code=b0a4d"
CONNECT = "/api/v1/workspaces/default/computes/lab/connect"


class _Server(BaseHTTPRequestHandler):
    """A server in which one instance runs."""

    def do_POST(self) -> None:
        link = {CONNECT: LINK, f"{CONNECT}?application=board": BOARD}.get(self.path)
        body = json.dumps({"url": link} if link else {"title": "x", "detail": "There is no such", "hint": "y"})
        self.send_response(201 if link else 404)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def with_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("ULTRAMARINE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("ULTRAMARINE_TOKEN", "t")
        monkeypatch.delenv("ULTRAMARINE_WORKSPACE", raising=False)
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("with_lab")
@pytest.mark.parametrize("words", [("compute", "connect", "-n", "lab"), ("open", "instance", "lab")])
def test_the_link_alone_is_on_stdout_or_in_the_data_that_is_asked_for(um: Um, words: tuple[str, ...]):
    plain = um(*words)
    assert (plain.code, plain.out) == (OK, f"{LINK}\n")
    assert "Good once" in plain.err
    assert json.loads(um(*words, "-o", "json").out) == {"url": LINK}
    assert um(*words, "--query", "url", "-o", "tsv").out == f"{LINK}\n"


@pytest.mark.usefixtures("with_lab")
def test_the_link_may_lead_to_an_application(um: Um):
    assert um("compute", "connect", "-n", "lab", "--application", "board").out == f"{BOARD}\n"
    assert um("compute", "connect", "-n", "lab", "--application", "bored").code == NOT_FOUND


@pytest.mark.usefixtures("with_lab")
@pytest.mark.parametrize(
    ("words", "display", "is_watched", "opens"),
    [
        ((), ":0", True, True),
        (("--no-browser",), ":0", True, False),
        ((), "", True, False),
        ((), ":0", False, False),
    ],
)
def test_a_browser_is_opened_where_somebody_looks_and_it_has_a_place_to_appear(
    um: Um, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], display: str, *, is_watched: bool, opens: bool
):
    opened: list[str] = []
    monkeypatch.setattr(entering.webbrowser, "open", opened.append)
    monkeypatch.setattr(entering.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    real = Talk.__init__

    def watched(talk: Talk) -> None:
        real(talk)
        talk.is_watched = is_watched

    monkeypatch.setattr(Talk, "__init__", watched)
    assert um("compute", "connect", "lab", *words).code == OK
    assert opened == ([LINK] if opens else [])


@pytest.mark.usefixtures("with_lab")
def test_what_cannot_be_opened_is_said(um: Um):
    assert um("compute", "connect", "nowhere").code == NOT_FOUND
    for words, said in (
        (("open", "instance"), "um open instance: it needs a name"),
        (("open", "mlflow", "lab"), "um open mlflow lab: only an instance has a name"),
        (("open", "lab"), "there is no such page"),
        (("compute", "connect"), "needs --name or -n"),
    ):
        refused = um(*words)
        assert (refused.code, said in refused.err) == (USAGE, True), refused.err


def test_an_instance_that_does_not_run_says_how_it_is_started(um: Um, signed_in: Path):
    made = ("-n", "asleep", "--type", "computeinstance", "--size", "cpu-1", "--no-wait")
    assert um("compute", "create", *made).code == OK
    assert um("compute", "stop", "asleep").code == OK
    refused = um("compute", "connect", "asleep", "--no-browser")
    assert (refused.code, refused.out) == (FAILED, "")
    assert "um compute start -n asleep" in refused.err
    assert um("compute", "delete", "asleep", "--yes").code == OK
