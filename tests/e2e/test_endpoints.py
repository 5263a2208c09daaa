"""`kill -9` behind an endpoint while requests flow: what died is replaced, and what need not fail does not."""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from . import dice
from .installation import Installation, carriers, environment_of, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 60 * dice.ROUNDS)]
HERE = Path(__file__).parent
rounds = pytest.mark.parametrize("number", range(1, dice.ROUNDS + 1))
MOMENT_S = 1.0


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        there = made.workspace
        there.models.create_or_update({"name": "factor", "type": "custom_model", "path": "model"}, folder=HERE)
        there.online_endpoints.create_or_update({"name": "times"})
        there.online_deployments.create_or_update(
            {
                "name": "blue",
                "endpoint_name": "times",
                "model": "azureml:factor@latest",
                "code_configuration": {"code": "scoring", "scoring_script": "score.py"},
                "environment": "azureml:minimal@latest",
                "instance_type": "STANDARD_F1S",
            },
            folder=HERE,
        )
        deployment = there.online_deployments.wait("blue", "times", timeout_s=120)
        assert deployment["provisioning_state"] == "Succeeded", f"{deployment}\n{made.told()}"
        there.online_endpoints.update("times", {"traffic": {"blue": 100}})
        yield made
        made.workspace.online_endpoints.delete("times")
        made.workspace.online_endpoints.wait_gone("times", timeout_s=60)


@dataclass
class Flow:
    """Requests to the endpoint, one after the other, each with what became of it."""

    uri: str
    key: str
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


def while_requests_flow(it: Installation, strike: Callable[[Flow], None]) -> Flow:
    endpoints = it.workspace.online_endpoints
    flow = Flow(endpoints.get("times")["scoring_uri"], endpoints.credentials("times")["primaryKey"])
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
        there = it.workspace.online_deployments.get("blue", "times")["replicas"]
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
            os.kill(pid, signal.SIGKILL)
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
        until(lambda: it.workspace.online_deployments.get("blue", "times"), "the API answers")
        until(lambda: flow.answered_since(killed_at + took[0]) > 20, "requests go on")

    flow = while_requests_flow(it, strike)
    assert flow.failed == []
    dice.survived("control, requests flowing", recovered_s=took[0])
