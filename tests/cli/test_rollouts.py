"""`um online-deployment rollout`: what is sent, what is said, how it ends. The server is a small one of the test's."""

import json
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
from tests.cli.conftest import Um
from tests.cli.small import Small, serving

from ultramarine.cli.command import FAILED, OK, USAGE

AT = "/api/v1/workspaces/default/online-endpoints/sum"
VIEW = {"endpoint_name": "sum", "deployment_name": "green", "steps": [10, 100], "step": 0}
BACK = "At 10 % of the traffic: 30 errors of 100 requests, 30.0 %; error_rate>1% was not to be."


class Rolling(Small):
    """`becomes`: what the rollout is, one look after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.becomes = [("Running", "At 10 % for 4 s more."), ("Completed", "green has 100 % of the traffic.")]
        self.settings: dict[str, Any] = {}

    def answer(self, method: str, path: str, body: bytes, headers: Message) -> tuple[int, Any]:
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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rolling]:
    server = Rolling()
    with serving(server, monkeypatch):
        yield server


def test_a_rollout_is_followed_to_its_end(um: Um, small: Rolling):
    done = um("deployment", "rollout", "-e", "sum", "-n", "green", "--canary", "5", "--steps", "10,50%,100",
              "--pause-on", "error_rate>1%,p99>2x")  # fmt: skip
    assert done.code == OK, done.err
    assert small.settings == {"canary": 5, "steps": [10, 50, 100], "pause_on": ["error_rate>1%", "p99>2x"]}
    assert "Rollout of green: Completed. green has 100 % of the traffic.\n" in done.err
    assert json.loads(done.out)["status"] == "Completed"


def test_what_is_not_said_is_left_to_the_server(um: Um, small: Rolling):
    assert um("deployment", "rollout", "-e", "sum", "-n", "green", "--hold", "5", "--min-requests", "0").code == OK
    assert small.settings == {"hold": 5, "min_requests": 0}


def test_one_that_returned_is_a_failure_and_says_why(um: Um, small: Rolling):
    small.becomes = [("Returned", BACK)]
    done = um("deployment", "rollout", "-e", "sum", "-n", "green")
    assert done.code == FAILED
    assert f"Rollout of green: Returned. {BACK}\n" in done.err


def test_no_wait_does_not_wait(um: Um, small: Rolling):
    done = um("deployment", "rollout", "-e", "sum", "-n", "green", "--no-wait")
    assert (done.code, json.loads(done.out)["status"]) == (OK, "Running")


def test_steps_that_are_no_percents_are_refused_before_anything_is_sent(um: Um, small: Rolling):
    refused = um("deployment", "rollout", "-e", "sum", "-n", "green", "--steps", "10,many")
    assert (refused.code, small.settings) == (USAGE, {})
    assert "--steps: 'many' is no percent." in refused.err


def test_a_rollback_says_what_the_traffic_is_now(um: Um, small: Rolling):
    done = um("deployment", "rollback", "-e", "sum")
    assert (done.code, json.loads(done.out)["traffic"]) == (OK, {"blue": 90, "green": 10})
    assert "Endpoint sum: the traffic is as before: blue 90 %, green 10 %\n" in done.err
