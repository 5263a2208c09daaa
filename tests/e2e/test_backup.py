"""A real installation is backed up while it runs, goes on, is killed, and goes back to the older backup.

Runners of before live on meanwhile: nothing of theirs is taken for new, and no job lives twice.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .installation import Installation, end, environment_of, installed, is_alive, processes, until
from .test_endpoints import Flow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HERE = Path(__file__).parent
LEASE_S, MARGIN_S = 12, 3
SHORT = {"ULTRAMARINE_LEASE_S": str(LEASE_S), "ULTRAMARINE_LEASE_MARGIN_S": str(MARGIN_S)}


@dataclass(kw_only=True)
class Story:
    """What there was when the backup was made, and what came after."""

    it: Installation
    file: Path
    written: dict[str, Any]
    old_epoch: str = ""
    jobs: set[str] = field(default_factory=set[str])  #: by id, all that there were before the kill


@pytest.fixture
def story(cache: Path) -> Iterator[Story]:
    with installed(cache, **SHORT) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        it.cluster(nodes=4)
        register_and_deploy(it)
        it.count("ended", 10)
        it.comes_to("ended", "Completed")
        it.count("running", 3000, pause_s=0.1)
        it.comes_to("running", "Running")
        it.cluster("d", nodes=1)
        it.submit("holder", "sleep 300", compute="d")
        it.comes_to("holder", "Running")
        it.count("waiting", 3000, pause_s=0.1, compute="d")
        file = it.home.with_name("backup.tar")
        done = it.um("backup", str(file), "-o", "json")
        assert done.returncode == 0, done.stderr
        assert str(it.home / "master.key") in done.stderr
        story = Story(it=it, file=file, written=json.loads(done.stdout), old_epoch=it.epoch)
        go_on(story)
        kill_all_but_runners(it)
        until(lambda: len(jobs_of_before(story)) == 3, "three jobs live on", seconds=5)
        yield story


def register_and_deploy(it: Installation) -> None:
    there = it.workspace
    there.models.create_or_update({"name": "factor", "type": "custom_model", "path": "model"}, folder=HERE)
    there.online_endpoints.create_or_update({"name": "times"})
    deployment = {
        "name": "blue",
        "endpoint_name": "times",
        "model": "azureml:factor@latest",
        "code_configuration": {"code": "scoring", "scoring_script": "score.py"},
        "environment": "azureml:minimal@latest",
        "instance_type": "STANDARD_F1S",
    }
    there.online_deployments.create_or_update(deployment, folder=HERE)
    found = there.online_deployments.wait("blue", "times", timeout_s=120)
    assert found["provisioning_state"] == "Succeeded", f"{found}\n{it.told()}"
    there.online_endpoints.update("times", {"traffic": {"blue": 100}})


def go_on(story: Story) -> None:
    """After the backup: what waited runs, a later attempt that it does not know of runs, a later job runs."""
    it = story.it
    it.workspace.jobs.cancel("holder")
    it.comes_to("waiting", "Running")
    it.submit("later", "sleep 300")
    it.comes_to("later", "Running")
    node = it.job("running")["nodes"][0]
    for pid in it.runner(node):
        end(pid)  # its second attempt, of which the backup knows nothing
    story.jobs = {job["id"] for job in it.workspace.jobs.list()}
    until(lambda: it.job("running")["attempt"] == 2 and it.job("running")["status"] == "Running", "attempt 2 runs")


def kill_all_but_runners(it: Installation) -> None:
    parts = [it.supervisor(), *(it.pid(part) for part in ("gateway", "control", "mlflow"))]
    for pid in parts:
        end(pid)
    until(lambda: not any(is_alive(pid) for pid in parts), "its parts have ended")


def jobs_of_before(story: Story) -> set[str]:
    """Runs of jobs of the epoch of before that are alive. A replica that is cut off goes on, and is no harm."""
    keys = {environment_of(pid).get("ULTRAMARINE_RUN_KEY", "") for pid in processes()}
    return {key for key in keys for job in story.jobs if key.startswith(f"{story.old_epoch}-{job}-")}


def alive_attempts(it: Installation, job: str) -> set[str]:
    keys = {environment_of(pid).get("ULTRAMARINE_RUN_KEY", "") for pid in processes()}
    return {key for key in keys if f"-{job}-" in key}


def it_is_as_it_was(story: Story, at: Installation) -> None:
    """Old jobs are there, later ones are not; the running one is tried again, never beside its attempt of before."""
    assert at.epoch != story.old_epoch
    assert at.job("ended")["status"] == "Completed"
    assert at.log("ended", 1) == "".join(f"line {n}\n" for n in range(10))
    assert "later" not in [job["name"] for job in at.workspace.jobs.list()]
    at.submit("new", "true")
    at.comes_to("new", "Completed")
    at.workspace.jobs.cancel("holder")
    for name in ("running", "waiting"):
        is_tried_again(at, name)
    assert not jobs_of_before(story), "jobs of before have ended"
    for name in ("running", "waiting"):
        assert "restored" in [event["event"] for event in at.workspace.jobs.events(name)]
        until(lambda name=name: at.log(name, 2).startswith("line 0\nline 1\n"), f"{name} writes a log of its own")
        at.workspace.jobs.cancel(name)
        at.comes_to(name, "Canceled")


def is_tried_again(at: Installation, name: str) -> None:
    """Attempt 2 of the new epoch runs; never beside an attempt of before."""
    id = at.job(name)["id"]

    def again() -> bool:
        alive = alive_attempts(at, id)
        assert len(alive) <= 1, f"two attempts live: {alive}"
        return alive == {f"{at.epoch}-{id}-2"}

    until(again, f"{name} runs again", seconds=LEASE_S + MARGIN_S + 60)


def it_answers(at: Installation) -> None:
    endpoints = at.workspace.online_endpoints
    flow = Flow(endpoints.get("times")["scoring_uri"], endpoints.credentials("times")["primaryKey"])
    until(lambda: not flow.ask(), "the deployment answers", seconds=60)
    replicas = at.workspace.online_deployments.get("blue", "times")["replicas"]
    assert all(replica["run"].startswith(at.epoch) for replica in replicas if replica["status"] == "Running")
    at.workspace.online_endpoints.delete("times")
    at.workspace.online_endpoints.wait_gone("times", timeout_s=60)


def test_in_the_same_home_nothing_of_before_is_taken_for_new(story: Story):
    it = story.it
    refused = it.um("restore", str(story.file))
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    done = it.um("restore", str(story.file), "--replace", "--yes")
    assert done.returncode == 0, done.stderr
    it.up()
    it_is_as_it_was(story, it)
    it_answers(it)
    [kept] = it.home.glob("replaced-*")
    shutil.rmtree(kept)
    assert not [key for key in os.listdir(it.home / "nodes") if key.startswith(story.old_epoch)]


def test_in_another_home_with_the_master_key_it_lives_on(story: Story, cache: Path):
    with installed(cache, **SHORT) as other:
        needs_key = other.um("restore", str(story.file))
        assert needs_key.returncode == 2
        assert f"{story.it.home}/master.key" in needs_key.stderr
        key = str(story.it.home / "master.key")
        done = other.um("restore", str(story.file), "--master-key", key)
        assert done.returncode == 0, done.stderr
        other.up()
        it_is_as_it_was(story, other)
        it_answers(other)
