"""What changes and what dies behind an endpoint while requests flow: what need not fail does not."""

import http.client
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ultramarine.services.secrets import Secrets

from . import dice
from .endpoints import HERE, deploy, multiplying, remove
from .installation import SIZE, Installation, carriers, end, environment_of, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 60 * dice.ROUNDS)]
TIMES = "times"
rounds = pytest.mark.parametrize("number", range(1, dice.ROUNDS + 1))
MOMENT_S = 1.0
BROKEN = """
def init():
    raise ValueError("no luck today")

def run(raw_data):
    return raw_data
"""


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with multiplying(cache, TIMES) as made:
        yield made


def state(it: Installation, name: str) -> dict[str, Any]:
    return it.workspace.online_deployments.get(name, TIMES)


@dataclass
class Flow:
    """Requests to the endpoint, one after the other, each with what became of it. `pin`: to that deployment."""

    uri: str
    key: str
    pin: str = ""
    answers: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            self.answers.append((time.monotonic(), self.ask()))

    def ask(self) -> str:
        """Empty, or what went wrong."""
        parts = urlsplit(self.uri)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            headers |= {"azureml-model-deployment": self.pin} if self.pin else {}
            connection.request("POST", parts.path, json.dumps({"data": [1, 2]}), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                return f"{answer.status} {content[:200]!r}"
            return "" if json.loads(content) == [3, 6] else f"a wrong answer: {content!r}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def answered_since(self, moment: float) -> int:
        return sum(1 for at, wrong in list(self.answers) if at > moment and not wrong)

    @property
    def failed(self) -> list[str]:
        return [wrong for _, wrong in self.answers if wrong]


def flow_to(it: Installation, pin: str = "") -> Flow:
    endpoints = it.workspace.online_endpoints
    return Flow(endpoints.get(TIMES)["scoring_uri"], endpoints.credentials(TIMES)["primaryKey"], pin)


def while_requests_flow(it: Installation, strike: Callable[[Flow], None]) -> Flow:
    flow = flow_to(it)
    began = time.monotonic()
    thread = threading.Thread(target=flow.run)
    thread.start()
    try:
        until(lambda: flow.answered_since(began) > 5, "requests are answered")
        strike(flow)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{flow.failed[-3:]}\n{it.told()}") from None
    finally:
        flow.is_over.set()
        thread.join()
    return flow


def replica(it: Installation) -> str:
    """The run of the replica that answers."""

    def running() -> str:
        there = it.workspace.online_deployments.get("blue", TIMES)["replicas"]
        return next((row["run"] for row in there if row["answers"]), "")

    return until(running, "a replica runs")


def processes_of(it: Installation, victim: str) -> list[int]:
    ranks = carriers(f"ULTRAMARINE_RUN_KEY={replica(it)}")
    if victim == "replica":
        return ranks
    return list(it.runner(environment_of(ranks[0])["ULTRAMARINE_ALLOCATION"] + ".0"))


@rounds
@pytest.mark.parametrize("victim", ["replica", "its runner"])
def test_a_killed_replica_is_replaced_and_answers_again(it: Installation, victim: str, number: int):
    what = {"replica": "replica", "its runner": "runner of a replica"}[victim]
    chance = dice.of(what, number)
    took: list[float] = []

    def strike(flow: Flow) -> None:
        before = replica(it)
        pids = processes_of(it, victim)
        time.sleep(chance.uniform(0, MOMENT_S))  # the moment of the kill is what is diced
        killed_at = time.monotonic()
        for pid in pids:
            end(pid)
        until(lambda: not carriers(f"ULTRAMARINE_RUN_KEY={before}"), f"nothing of {before} lives", seconds=60)
        gone_at = time.monotonic()
        until(lambda: flow.answered_since(gone_at) > 5, "it answers again", seconds=60)
        took.append(next(at for at, wrong in flow.answers if at > gone_at and not wrong) - killed_at)
        assert replica(it) != before

    flow = while_requests_flow(it, strike)
    dice.survived(what, recovered_s=took[0], failed_requests=len(flow.failed))


@rounds
def test_requests_are_answered_while_the_control_plane_is_dead(it: Installation, number: int):
    chance = dice.of("control, requests flowing", number)
    took: list[float] = []

    def strike(flow: Flow) -> None:
        before = it.pid("control")
        time.sleep(chance.uniform(0, MOMENT_S))  # the moment of the kill is what is diced
        killed_at = time.monotonic()
        os.kill(before, signal.SIGKILL)
        it.pid("control", but=before)
        took.append(time.monotonic() - killed_at)
        until(lambda: it.workspace.online_deployments.get("blue", TIMES), "the API answers")
        until(lambda: flow.answered_since(killed_at + took[0]) > 20, "requests go on")

    flow = while_requests_flow(it, strike)
    assert flow.failed == []
    dice.survived("control, requests flowing", recovered_s=took[0])


def test_more_and_fewer_replicas_while_requests_flow_fail_none(it: Installation):
    def strike(flow: Flow) -> None:
        deployments = it.workspace.online_deployments
        for count in (2, 1):
            deployments.update("blue", TIMES, {"instance_count": count})
            until(
                lambda count=count: [row["answers"] for row in state(it, "blue")["replicas"]] == [True] * count,
                f"{count} replicas answer, and no other is left",
                seconds=60,
            )
            changed_at = time.monotonic()
            until(lambda changed_at=changed_at: flow.answered_since(changed_at) > 20, "requests go on")

    assert while_requests_flow(it, strike).failed == []


def test_a_green_that_cannot_load_fails_with_its_log_and_leaves_blue_serving(it: Installation, tmp_path: Path):
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "score.py").write_text(BROKEN)

    def strike(flow: Flow) -> None:
        green = deploy(it, TIMES, "green", folder=tmp_path)
        assert green["provisioning_state"] == "Failed"
        assert "no luck today" in green["reason"]
        assert "Traceback" in green["reason"]

    assert while_requests_flow(it, strike).failed == []
    assert state(it, "blue")["provisioning_state"] == "Succeeded"
    remove(it, TIMES, "green")


def test_a_change_that_fails_leaves_what_ran_and_succeeds_when_it_can(it: Installation, tmp_path: Path):
    obstacle = tmp_path / "obstacle"
    (tmp_path / "scoring").mkdir()
    script = (HERE / "scoring" / "score.py").read_text()
    script = script.replace(
        "    global factor\n", f"    global factor\n    assert not Path({str(obstacle)!r}).exists()\n"
    )
    (tmp_path / "scoring" / "score.py").write_text(script)
    obstacle.touch()
    assert deploy(it, TIMES, "red", folder=tmp_path)["provisioning_state"] == "Failed"
    obstacle.unlink()
    assert deploy(it, TIMES, "red", folder=tmp_path)["provisioning_state"] == "Succeeded", "tried again by the same"
    obstacle.touch()
    it.workspace.online_deployments.update("red", TIMES, {"instance_count": 2})
    failed = it.workspace.online_deployments.wait("red", TIMES, timeout_s=60)
    assert failed["provisioning_state"] == "Failed"
    assert "AssertionError" in failed["reason"]
    assert flow_to(it, "red").ask() == ""
    scale = {"type": "target_utilization", "min_instances": 1, "max_instances": 2, "cooldown": 1}
    it.workspace.online_deployments.update("red", TIMES, {"scale_settings": scale})

    def is_enough() -> bool:
        view = state(it, "red")
        return (view["provisioning_state"], view["instance_count"]) == ("Succeeded", 1)

    until(is_enough, "one is enough for its requests", seconds=60)
    obstacle.unlink()
    it.workspace.online_deployments.update("red", TIMES, {"scale_settings": {**scale, "min_instances": 2}})
    until(lambda: [row["answers"] for row in state(it, "red")["replicas"]] == [True] * 2, "both answer", seconds=60)
    remove(it, TIMES, "red")


def test_replicas_go_when_nobody_asks_and_the_next_request_waits_for_one(it: Installation):
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 2, "idle_time_before_scale_down": 3}
    brief = {"request_timeout_ms": 1000}  # so long those that go are kept
    assert (
        deploy(it, TIMES, "elastic", scale_settings=scale, request_settings=brief)["provisioning_state"] == "Succeeded"
    )

    def is_gone() -> bool:
        view = state(it, "elastic")
        return view["instance_count"] == 0 and not view["replicas"]

    for _ in range(2):
        until(is_gone, "no replica is left", seconds=60)
        assert state(it, "elastic")["reason"] == "No request for 3 s: none is kept."
        assert flow_to(it, "elastic").ask() == ""
    remove(it, TIMES, "elastic")


def test_a_token_is_good_for_its_own_endpoint_until_it_expires(it: Installation):
    there = it.workspace.online_endpoints
    for name in ("signed", "other"):
        there.create_or_update({"name": name, "auth_mode": "aml_token"})
    assert deploy(it, "signed", "blue")["provisioning_state"] == "Succeeded"
    there.update("signed", {"traffic": {"blue": 100}})
    uri, token = there.get("signed")["scoring_uri"], str(there.credentials("signed")["accessToken"])
    assert Flow(uri, token).ask() == ""
    assert json.loads(there.invoke("signed", json.dumps({"data": [1, 2]}).encode())) == [3, 6]
    of_others = [there.credentials("other")["accessToken"], there.credentials(TIMES)["primaryKey"]]
    for wrong in ("", expired(it, token), token[:-1], *of_others):
        assert Flow(uri, wrong).ask().startswith("401 "), wrong
    assert Flow(there.get(TIMES)["scoring_uri"], token).ask().startswith("403 "), "it is no key of that one"
    for name in ("signed", "other"):
        there.delete(name)
        there.wait_gone(name, timeout_s=60)


def expired(it: Installation, token: str) -> str:
    """The token as this installation has made it an hour and a second earlier."""
    purpose, workspace, name, until_s, _ = token.split(":")
    with sqlite3.connect(it.home / "ultramarine.db") as database:
        [keys] = database.execute("SELECT keys_sha256 FROM endpoints WHERE name = ?", [name]).fetchone()
    said = workspace, name, json.loads(keys)[0]
    made = Secrets.at(it.home / "master.key").of
    assert token.endswith(made(purpose, *said, until_s)), "it is made so"
    over = str(int(time.time()) - 1)
    return f"{purpose}:{workspace}:{name}:{over}:{made(purpose, *said, over)}"


def test_replicas_stand_on_an_inferencing_cluster_with_a_model_that_is_written_out(it: Installation):
    cluster = {"name": "inf", "type": "inferencecluster", "size": SIZE, "max_instances": 1}
    it.workspace.computes.create_or_update(cluster | {"idle_time_before_scale_down": 1})
    model = {"path": "model"}
    assert deploy(it, TIMES, "far", compute="inf", model=model)["provisioning_state"] == "Succeeded", it.told()
    [row] = state(it, "far")["replicas"]
    assert row["node"] in [node["name"] for node in it.workspace.computes.nodes("inf")]
    assert flow_to(it, "far").ask() == ""
    remove(it, TIMES, "far")
    until(lambda: not list(it.workspace.computes.nodes("inf")), "its node goes", seconds=60)
    it.workspace.computes.delete("inf")
