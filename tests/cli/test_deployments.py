"""Deployments on the command line, with a small server that speaks the same HTTP and says when a replica answers."""

import json
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Um
from tests.cli.small import Small, serving

from ultramarine.cli.command import FAILED, NOT_ALLOWED, OK, USAGE

REFUSED = "The gateway cannot reach it: connection refused."
BLUE = "name: blue\nendpoint_name: sum\nmodel: azureml:weights@latest\n"


class Deploying(Small):
    """An endpoint named sum. A deployment is what `becomes` says, one state at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.becomes = ["Creating", "Succeeded"]
        self.traffic: dict[str, int] = {"green": 100}
        self.mirrored: dict[str, int] = {}
        self.more: dict[str, Any] = {}
        self.endpoint: dict[str, Any] = {}
        self.is_by_token = False
        self.keys: list[str | None] = []
        self.invoked: list[tuple[str | None, bytes]] = []

    def answer(self, method: str, path: str, body: bytes, headers: Message) -> tuple[int, Any]:
        match method, path.removeprefix("/api/v1/workspaces/default/online-endpoints/sum"):
            case "PATCH", "":
                said = json.loads(body)
                self.traffic, self.mirrored = said.get("traffic", self.traffic), said.get("mirror_traffic", {})
                return 200, {"name": "sum", "traffic": self.traffic}
            case "GET", "":
                view = {"name": "sum", "traffic": self.traffic, "scoring_uri": "/endpoints/default/sum/score"}
                return 200, view | self.endpoint
            case "GET", "/credentials":
                return 200, {"accessToken": "access"} if self.is_by_token else {"primaryKey": "p", "secondaryKey": "s"}
            case (("PUT" | "GET"), "/deployments/blue"):
                state = self.becomes.pop(0) if len(self.becomes) > 1 else self.becomes[0]
                reason = "score.py: no module named 'numpi'" if state == "Failed" else ""
                view: dict[str, Any] = {
                    "name": "blue",
                    "endpoint_name": "sum",
                    "provisioning_state": state,
                    "reason": reason,
                }
                view |= {
                    "reason": reason,
                    "replicas": [{"run": "e1-d-1", "status": "Running", "answers": False, "why": REFUSED}],
                }
                return 200, view | self.more
            case "GET", logs if logs.startswith("/deployments/blue/logs"):
                return 200, logs.partition("?")[2]
            case "POST", "/endpoints/default/sum/score":
                self.keys.append(headers["Authorization"])
                self.invoked.append((headers["azureml-model-deployment"], body))
                return (200, {"sum": 6}) if body != b"bad" else (403, {"detail": "The key is wrong."})
            case _:
                return 404, {"code": "not-found", "detail": f"{method} {path}", "hint": "-"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deploying]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blue.yml").write_text(BLUE)
    (tmp_path / "request.json").write_text('{"data": [1, 2, 3]}')
    server = Deploying()
    with serving(server, monkeypatch):
        yield server


def test_create_waits_until_the_deployment_answers_and_gives_it_the_traffic(um: Um, small: Deploying):
    made = um("online-deployment", "create", "-f", "blue.yml", "--all-traffic")
    assert (made.code, json.loads(made.out)["provisioning_state"]) == (OK, "Succeeded")
    assert "Deployment blue: Succeeded\nEndpoint sum: all traffic goes to blue\n" in made.err
    assert small.traffic == {"green": 0, "blue": 100}


def test_a_deployment_that_fails_says_why_and_keeps_the_traffic(um: Um, small: Deploying):
    small.becomes = ["Creating", "Failed"]
    failed = um("online-deployment", "create", "-f", "blue.yml", "--all-traffic")
    assert failed.code == FAILED
    assert "no module named 'numpi'" in failed.err
    assert "next: um online-deployment get-logs -e sum -n blue" in failed.err
    assert small.traffic == {"green": 100}


def test_no_wait_does_not_wait_and_goes_with_no_all_traffic(um: Um, small: Deploying):
    made = um("deployment", "create", "-f", "blue.yml", "--no-wait")
    assert (made.code, json.loads(made.out)["provisioning_state"]) == (OK, "Creating")
    small.becomes = ["Creating", "Succeeded"]
    assert um("deployment", "create", "-f", "blue.yml", "--no-wait", "--all-traffic").code == USAGE
    assert small.becomes == ["Creating", "Succeeded"], "nothing was asked of the server"


def test_a_deployment_without_an_endpoint_is_refused(um: Um, small: Deploying, tmp_path: Path):
    (tmp_path / "bare.yml").write_text("name: blue\nmodel: m:1\n")
    refused = um("deployment", "create", "-f", "bare.yml")
    assert refused.code == USAGE
    assert "--endpoint-name" in refused.err
    assert um("deployment", "create", "-f", "bare.yml", "-e", "sum").code == OK


def test_a_log_says_of_which_replica_it_is(um: Um, small: Deploying):
    ask = ("online-deployment", "get-logs", "-e", "sum", "-n", "blue")
    none = um(*ask)
    assert (none.code, none.out, none.err) == (OK, '"tail=100"', "No replica of blue has written anything yet.\n")
    small.headers = {"x-ultramarine-replica": "12"}
    newest = um(*ask, "--lines", "5")
    assert newest.out == '"tail=5"'
    assert newest.err == "Replica 12 of blue, the newest; of another: --replica NUMBER\n"
    chosen = um(*ask, "--replica", "12")
    assert (chosen.out, chosen.err) == ('"tail=100&replica=12"', "Replica 12 of blue\n")


def test_an_endpoint_is_invoked_with_its_key_and_may_be_pinned(um: Um, small: Deploying):
    answered = um("online-endpoint", "invoke", "-n", "sum", "--request-file", "request.json", "-d", "blue")
    assert (answered.code, answered.out) == (OK, '{"sum": 6}\n')
    assert small.invoked == [("blue", b'{"data": [1, 2, 3]}')]


def test_an_endpoint_that_wants_tokens_is_invoked_with_one(um: Um, small: Deploying):
    small.is_by_token = True
    assert um("online-endpoint", "invoke", "sum", "-r", "request.json").code == OK
    assert small.keys == ["Bearer access"]


def test_what_an_endpoint_refuses_is_said(um: Um, small: Deploying, tmp_path: Path):
    (tmp_path / "request.json").write_text("bad")
    refused = um("online-endpoint", "invoke", "sum", "-r", "request.json")
    assert (refused.code, refused.out) == (NOT_ALLOWED, "")
    assert "The key is wrong." in refused.err
    assert um("online-endpoint", "invoke", "sum", "-r", "nowhere.json").code == USAGE


def test_traffic_is_given_in_words(um: Um, small: Deploying):
    assert um("endpoint", "update", "sum", "--traffic", "blue=90 green=10").code == OK
    assert small.traffic == {"blue": 90, "green": 10}
    assert um("endpoint", "update", "sum", "--mirror-traffic", "green=10").code == OK
    assert (small.traffic, small.mirrored) == ({"blue": 90, "green": 10}, {"green": 10})
    wrong = um("endpoint", "update", "sum", "--mirror-traffic", "green")
    assert (wrong.code, "--mirror-traffic: 'green' is not of the form" in wrong.err) == (USAGE, True)


def test_a_replica_that_the_gateway_cannot_reach_is_shown_with_the_reason(um: Um, small: Deploying):
    shown = um("deployment", "show", "-e", "sum", "-n", "blue", "-o", "table")
    assert shown.code == OK
    assert REFUSED in " ".join(shown.out.split())


def test_figures_are_words_in_a_table_and_figures_in_json(um: Um, small: Deploying):
    requests = {
        "in_flight": 3,
        "queued": 2,
        "held": 1,
        "last_minute": {
            "seconds": 60.0,
            "per_s": 41.5,
            "errors": 2,
            "refused": 7,
            "p50_s": 0.0042,
            "p90_s": 0.02,
            "p99_s": None,
        },
        "answered": 105,
        "answers": {"2xx": 100, "4xx": 0, "5xx": 5},
        "p50_s": 0.004,
        "p99_s": 0.5,
    }
    load = {"workers": 2, "requests": 80, "calls": 10, "waiting": 3, "in_work": 1, "per_call": 8.0}
    use = {"cpu_percent": 150.4, "memory_bytes": 2**28}
    replica = {"run": "e1-d-1", "status": "Running", "answers": True, "why": "", "load": load}
    small.more = {"requests": requests, "replicas": [replica | {"usage": {"now": use, "peak": use}}]}
    ask = ("online-deployment", "show", "-e", "sum", "-n", "blue", "-o")
    assert json.loads(um(*ask, "json").out)["requests"] == requests
    shown = " ".join(um(*ask, "table").out.split())
    assert "now 3 in flight, 3 wait for a place" in shown
    assert "last minute 41.5 a second, 2 errors, 7 refused (429); p50 4.2 ms, p90 20 ms" in shown
    assert "all answers 100 of 2xx, 5 of 5xx; p50 4 ms, p99 500 ms" in shown
    assert "replica e1-d-1 status Running answers yes load 3 wait in it, 8 requests a call, 2 worker processes" in shown
    assert "usage 150 % of a CPU (150 %), 256.0 MiB of memory (256.0 MiB)" in shown
    small.endpoint = {"requests": {"blue": requests | {"last_minute": None}}}
    shown = " ".join(um("online-endpoint", "show", "-n", "sum", "-o", "table").out.split())
    assert "requests blue now 3 in flight, 3 wait for a place all answers 100 of 2xx, 5 of 5xx; p50 4 ms" in shown
