"""`um online-deployment rollout`: what is sent, what is said, how it ends. The server is a small one of the test's."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.cli.conftest import Um

from ultramarine.cli.command import FAILED, OK, USAGE

AT = "/api/v1/workspaces/default/online-endpoints/sum"
VIEW = {"endpoint_name": "sum", "deployment_name": "green", "steps": [10, 100], "step": 0}
BACK = "At 10 % of the traffic: 30 errors of 100 requests, 30.0 %; error_rate>1% was not to be."


class Small(ThreadingHTTPServer):
    """`becomes`: what the rollout is, one look after the other."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.becomes = [("Running", "At 10 % for 4 s more."), ("Completed", "green has 100 % of the traffic.")]
        self.settings: dict[str, Any] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path.removeprefix(AT):
            case "POST", "/deployments/green/rollout":
                self.settings = json.loads(body)
                return 201, {**VIEW, "status": "Running", "reason": ""}
            case "GET", "/rollout":
                status, reason = self.becomes.pop(0) if len(self.becomes) > 1 else self.becomes[0]
                return 200, {**VIEW, "status": status, "reason": reason}
            case "POST", "/rollback":
                return 200, {"name": "sum", "traffic": {"blue": 90, "green": 10}}
            case _:
                return 404, {"code": "not-found", "detail": f"{method} {path}", "hint": "-"}


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Small)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = self.server.answer(self.command, self.path, body)
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    do_POST = do_GET  # noqa: N815  (a name that the library calls)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    server = Small()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("ULTRAMARINE_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("ULTRAMARINE_TOKEN", "t")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_rollout_is_followed_to_its_end(um: Um, small: Small):
    done = um("deployment", "rollout", "-e", "sum", "-n", "green", "--canary", "5", "--steps", "10,50%,100",
              "--pause-on", "error_rate>1%,p99>2x")  # fmt: skip
    assert done.code == OK, done.err
    assert small.settings == {"canary": 5, "steps": [10, 50, 100], "pause_on": ["error_rate>1%", "p99>2x"]}
    assert "Rollout of green: Completed. green has 100 % of the traffic.\n" in done.err
    assert json.loads(done.out)["status"] == "Completed"


def test_what_is_not_said_is_left_to_the_server(um: Um, small: Small):
    assert um("deployment", "rollout", "-e", "sum", "-n", "green", "--hold", "5", "--min-requests", "0").code == OK
    assert small.settings == {"hold": 5, "min_requests": 0}


def test_one_that_returned_is_a_failure_and_says_why(um: Um, small: Small):
    small.becomes = [("Returned", BACK)]
    done = um("deployment", "rollout", "-e", "sum", "-n", "green")
    assert done.code == FAILED
    assert f"Rollout of green: Returned. {BACK}\n" in done.err


def test_no_wait_does_not_wait(um: Um, small: Small):
    done = um("deployment", "rollout", "-e", "sum", "-n", "green", "--no-wait")
    assert (done.code, json.loads(done.out)["status"]) == (OK, "Running")


def test_steps_that_are_no_percents_are_refused_before_anything_is_sent(um: Um, small: Small):
    refused = um("deployment", "rollout", "-e", "sum", "-n", "green", "--steps", "10,many")
    assert (refused.code, small.settings) == (USAGE, {})
    assert "--steps: 'many' is no percent." in refused.err


def test_a_rollback_says_what_the_traffic_is_now(um: Um, small: Small):
    done = um("deployment", "rollback", "-e", "sum")
    assert (done.code, json.loads(done.out)["traffic"]) == (OK, {"blue": 90, "green": 10})
    assert "Endpoint sum: the traffic is as before: blue 90 %, green 10 %\n" in done.err
