"""`um compute …` of instances: what is sent, what is waited for, what is said."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Um
from tests.cli.small import Small, serving

from ultramarine.cli.command import FAILED, OK, USAGE

AT = "/api/v1/workspaces/default/computes/mine"
WHY: dict[str, Any] = {
    "state": "Running",
    "reason": "",
    "busy_by": [],
    "stops_at": None,
    "why": "It stays up: a GPU is at 50 %.",
}


class Server(Small):
    """With one instance, which comes to the next of `states` each time that it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.states = ["Running"]
        self.reason = ""
        self.asked: list[tuple[str, str, Any]] = []
        self.why: dict[str, Any] = {**WHY, "next": None}

    def answer(self, method: str, path: str, body: bytes, headers: Message) -> tuple[int, Any]:
        self.asked.append((method, path, json.loads(body) if body else None))
        if path.endswith("/explain"):
            return 200, {"name": "mine", "instance": self.why, "waiting": {"first": None}, "nodes": []}
        if "/snapshots/" in path:
            return 200, {"missing": []}
        state = self.states[0]
        if method == "GET" and len(self.states) > 1:
            state = self.states.pop(0)
        instance = {"state": state, "reason": self.reason, "owner": "ann", "awake_until": "2026-01-01T20:00:00+00:00"}
        view = {"name": "mine", "type": "computeinstance", "state": state, "instance": instance, "size_used": "cpu-1"}
        if path.partition("?")[0].endswith("/computes"):
            return 200, {"value": [view], "next": None}
        return 200, view | {"provisioning_state": "Succeeded", "notice": ""}


@pytest.fixture
def server_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    server = Server()
    monkeypatch.chdir(tmp_path)
    with serving(server, monkeypatch):
        yield server


def test_create_waits_until_it_answers(um: Um, server_of_one: Server, tmp_path: Path) -> None:
    server_of_one.states = ["Creating", "Creating", "Running"]
    (tmp_path / "instance.yml").write_text("name: mine\ntype: computeinstance\nsize: cpu-1\n")
    made = um("compute", "create", "-f", "instance.yml")
    assert (made.code, json.loads(made.out)["state"]) == (OK, "Running")
    assert made.err.endswith("Compute instance mine: Running\n")
    assert server_of_one.asked[0] == ("PUT", AT, {"name": "mine", "type": "computeinstance", "size": "cpu-1"})


def test_azures_spelling_of_the_type_is_taken(um: Um, server_of_one: Server) -> None:
    options = ("--type", "ComputeInstance", "--size", "STANDARD_DS1_V2", "--idle-time-before-shutdown-minutes", "30")
    assert um("compute", "create", "-n", "mine", *options).code == OK
    sent = server_of_one.asked[0][2]
    assert (sent["type"], sent["size"], sent["idle_time_before_shutdown_minutes"]) == (
        "computeinstance",
        "STANDARD_DS1_V2",
        30,
    )


def test_no_wait_waits_for_nothing(um: Um, server_of_one: Server) -> None:
    server_of_one.states = ["Starting"]
    for command in (
        ("create", "-n", "mine", "--type", "computeinstance", "--size", "cpu-1"),
        ("start", "mine"),
        ("restart", "mine"),
        ("resize", "mine", "--size", "cpu-2"),
    ):
        server_of_one.asked.clear()
        done = um("compute", *command, "--no-wait")
        assert (done.code, json.loads(done.out)["state"], len(server_of_one.asked)) == (OK, "Starting", 1), done.err
    assert server_of_one.asked[0] == ("POST", f"{AT}/resize", {"size": "cpu-2"})


@pytest.mark.parametrize("state", ["SetupFailed", "Unusable"])
def test_one_that_does_not_come_up_fails_the_command_with_its_words(um: Um, server_of_one: Server, state: str) -> None:
    server_of_one.states, server_of_one.reason = ["Starting", state], "It ended: exited.\npip: no such package"
    failed = um("compute", "start", "-n", "mine")
    assert failed.code == FAILED
    assert f"Compute instance mine: {state}: It ended: exited.\n" in failed.err
    assert failed.err.endswith("next: um compute explain -n mine\n")


def test_stop_waits_until_it_has_stopped(um: Um, server_of_one: Server) -> None:
    server_of_one.states = ["Stopping", "Stopping", "Stopped"]
    stopped = um("compute", "stop", "mine")
    assert (stopped.code, json.loads(stopped.out)["state"]) == (OK, "Stopped")
    server_of_one.states = ["Stopping"]
    assert json.loads(um("compute", "stop", "mine", "--no-wait").out)["state"] == "Stopping"


def test_it_is_kept_awake_for_as_long_as_is_said(um: Um, server_of_one: Server) -> None:
    kept = um("compute", "keep-awake", "-n", "mine", "--hours", "3")
    assert kept.code == OK
    assert "mine does not stop for want of use before 2026-01-01T20:00:00+00:00" in kept.err
    assert server_of_one.asked == [("POST", f"{AT}/keep-awake", {"hours": 3})]
    um("compute", "keep-awake", "mine")
    assert server_of_one.asked[-1][2] == {"hours": 8}
    assert um("compute", "keep-awake", "mine", "--hours", "long").code == USAGE


def test_explain_says_what_keeps_it_up_or_when_it_stops(um: Um, server_of_one: Server) -> None:
    busy = um("compute", "explain", "mine", "-o", "table")
    assert (busy.code, busy.out) == (OK, "")
    assert busy.err == "mine: Running\nIt stays up: a GPU is at 50 %.\n"
    soon = (datetime.now(UTC) + timedelta(minutes=4, seconds=30)).isoformat()
    stops = {"stops_at": soon, "why": "Idle since 12:00 UTC; it stops at 2026-01-01 13:00 UTC."}
    server_of_one.why |= stops | {"next": {"action": "stop", "at": "2026-01-01T19:00:00+00:00"}}
    idle = um("compute", "explain", "mine", "-o", "table")
    assert "UTC.\nIt stops in 4 min. Keep it: um compute keep-awake -n mine --hours 8\n" in idle.err
    assert idle.err.endswith("Its schedule: stop at 2026-01-01T19:00:00+00:00\n")
    assert json.loads(um("compute", "explain", "mine").out)["instance"]["stops_at"] == stops["stops_at"]


def test_the_list_shows_its_state_and_whose_it_is(um: Um, server_of_one: Server) -> None:
    head, row = um("compute", "list", "-o", "table").out.splitlines()[:2]
    assert head.split()[:5] == ["NAME", "TYPE", "SIZE", "STATE", "OWNER"]
    assert row.split()[:5] == ["mine", "computeinstance", "cpu-1", "Running", "ann"]


@pytest.mark.parametrize("verb", ["create", "update"])
def test_the_file_of_a_set_up_script_is_found_beside_the_yaml_and_uploaded(
    um: Um, server_of_one: Server, tmp_path: Path, verb: str
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "set-up.sh").write_text("date\n")
    scripts = "{creation_script: {path: set-up.sh, command: a b}, startup_script: {command: date}}"
    (folder / "i.yml").write_text(f"name: mine\ntype: computeinstance\nsize: cpu-1\nsetup_scripts: {scripts}\n")
    name = () if verb == "create" else ("-n", "mine")
    assert um("compute", verb, "-f", "there/i.yml", *name).code == OK
    ((_, path, _),) = [asked for asked in server_of_one.asked if "/snapshots/" in asked[1]]
    (body,) = [body for method, at, body in server_of_one.asked if method in ("PUT", "PATCH") and at == AT]
    assert body["setup_scripts"] == {
        "creation_script": {"path": f"snapshot:{path.rpartition('/')[2]}", "command": "a b"},
        "startup_script": {"command": "date"},
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.sh", "setup_scripts.creation_script.path: there is no file or folder"),
        ("folder", "is a folder, and no script"),
        ("large.sh", "has 262145 bytes; a set-up script may have 262144"),
        ("https://there/x.sh", "is read by nobody yet"),
    ],
)
def test_a_file_that_is_no_set_up_script_is_refused_before_it_is_sent(
    um: Um, server_of_one: Server, tmp_path: Path, path: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    (tmp_path / "large.sh").write_bytes(b"#" * (256 * 1024 + 1))
    chosen = ("--set", f"setup_scripts.creation_script.path={path}")
    refused = um("compute", "create", "-n", "mine", "--type", "computeinstance", "--size", "cpu-1", *chosen)
    assert refused.code in (FAILED, USAGE)
    assert said in refused.err
    assert server_of_one.asked == []
