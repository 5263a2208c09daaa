"""What is sent to an endpoint and what it answers, read again from the files that its deployment has collected."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .endpoints import multiplying
from .installation import UM, Installation, carriers, end, until
from .load import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OF = ("-e", "kept", "-n", "blue")


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    collected = {
        "collections": {"request": {"enabled": "True"}, "response": {"enabled": "True"}},
        "rolling_rate": "Year",
    }
    with multiplying(cache, "kept", data_collector=collected) as made:
        yield made


def um(it: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**it.environment, "ULTRAMARINE_HOME": str(it.home)}
    return subprocess.run([str(UM), *words], env=environment, capture_output=True, text=True, timeout=60)


def ask(it: Installation, number: int) -> Any:
    return json.loads(it.workspace.online_endpoints.invoke("kept", json.dumps({"data": [number]}).encode()))


def downloaded(it: Installation, folder: Path) -> dict[str, dict[str, Any]]:
    """By collection, the data of each line by its correlation."""
    done = um(it, "online-deployment", "collected", *OF, "--download-path", str(folder))
    assert done.returncode == 0, done.stderr
    lines = {
        name: [json.loads(line) for file in (folder / name).rglob("*.jsonl") for line in file.open()]
        for name in ("request", "response")
    }
    found = {name: {each["correlationid"]: each["data"] for each in those} for name, those in lines.items()}
    assert {name: len(those) for name, those in found.items()} == {name: len(those) for name, those in lines.items()}
    return found


def pairs(found: dict[str, dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Question and answer, joined."""
    answers = found["response"]
    joined = [(asked["data"][0], answers.get(id)) for id, asked in found["request"].items()]
    return sorted(joined, key=lambda pair: pair[0])


def test_what_was_sent_and_answered_is_read_again_though_the_replica_was_killed(it: Installation, tmp_path: Path):
    replicas = it.workspace.online_deployments.get("blue", "kept")["replicas"]
    run = next(row["run"] for row in replicas if row["answers"])
    expected: list[tuple[Any, Any]] = []
    for number in range(60):
        expected.append((number, ask(it, number)))
    assert expected[2] == (2, [6])

    def written() -> int:
        [file] = it.home.glob(f"nodes/*/runs/{run}/collected/response/*/*.jsonl")
        return file.read_bytes().count(b"\n")

    until(lambda: written() == 60, "all is written on the node")
    for pid in carriers(f"ULTRAMARINE_RUN_KEY={run}"):
        end(pid)
    until(lambda: pairs(downloaded(it, tmp_path)) == expected, "what was written comes here", seconds=60)

    def answers_again() -> bool:
        there = it.workspace.online_deployments.get("blue", "kept")["replicas"]
        return any(row["answers"] and row["run"] != run for row in there)

    until(answers_again, "another replica answers", seconds=90)
    expected.append((60, ask(it, 60)))
    until(lambda: pairs(downloaded(it, tmp_path)) == expected, "what the next one wrote comes too", seconds=60)


def test_what_is_collected_changes_while_requests_come_and_none_is_lost(it: Installation, tmp_path: Path):
    endpoints, deployments = it.workspace.online_endpoints, it.workspace.online_deployments
    uri, key = endpoints.get("kept")["scoring_uri"], endpoints.credentials("kept")["primaryKey"]
    before = downloaded(it, tmp_path / "before")
    replicas = {row["run"] for row in deployments.get("blue", "kept")["replicas"]}
    wrong = um(it, "online-deployment", "update", *OF, "--set", "data_collector.collections.mine.enabled=maybe")
    assert (wrong.returncode, "data_collector.collections.mine.enabled" in wrong.stderr) == (2, True), wrong.stderr
    changes = ("data_collector.collections.response.enabled=false", "environment_variables.WORKER_COUNT=2")
    with Load(uri=uri, key=key, body=b'{"data": [7]}', rate=40.0, expected=[21]) as load:
        done = um(it, "online-deployment", "update", *OF, *(word for each in changes for word in ("--set", each)))
        assert done.returncode == 0, done.stderr
        fresh = deployments.get("blue", "kept")["replicas"]
        answered_before = len(load.answers)
        until(lambda: len(load.answers) > answered_before + 200, "requests for the new one", seconds=30)
    assert load.failed == [], load.told()
    assert [row["answers"] for row in fresh if row["run"] not in replicas] == [True]

    def shown() -> dict[str, Any]:
        [row] = deployments.get("blue", "kept")["replicas"]
        assert row["run"] not in replicas
        return row["load"] or {}

    until(lambda: shown().get("workers") == 2 and shown()["requests"] >= 200, "both tell of their load", seconds=30)
    sent = len(load.answers)

    def kept() -> list[int]:
        found = downloaded(it, tmp_path / "after")
        return [len(found[name].keys() - before[name].keys()) for name in ("request", "response")]

    until(lambda: kept()[0] == sent, "all requests are collected", seconds=60)
    assert kept()[1] <= sent - 200, "their answers are not any more"
    lately = deployments.get("blue", "kept")["requests"]["last_minute"]
    assert (lately["errors"], lately["refused"]) == (0, 0)
    assert lately["per_s"] > 1
    assert 0 < lately["p50_s"] <= lately["p90_s"] <= lately["p99_s"]


def test_it_stays_when_the_deployment_goes_until_somebody_deletes_it(it: Installation, tmp_path: Path):
    expected = len(pairs(downloaded(it, tmp_path / "before")))
    refused = um(it, "online-deployment", "delete-collected", *OF, "--yes")
    assert (refused.returncode, "may be collecting" in refused.stderr) != (0, False)
    it.workspace.online_endpoints.update("kept", {"traffic": {"blue": 0}})
    it.workspace.online_deployments.delete("blue", "kept")
    it.workspace.online_deployments.wait_gone("blue", "kept", timeout_s=60)
    assert len(pairs(downloaded(it, tmp_path / "after"))) == expected > 0
    assert um(it, "online-deployment", "delete-collected", *OF, "--yes").returncode == 0
    assert um(it, "online-deployment", "collected", *OF).returncode != 0
    assert list((it.home / "files" / "collected").rglob("*.jsonl")) == []
