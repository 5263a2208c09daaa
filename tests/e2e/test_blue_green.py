"""Azure ML's story of a safe rollout, with its YAML and its commands, while 200 requests a second come in."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ultramarine.cli.command import FAILED, OK

from .installation import SIZE, UM, Installation, installed, until
from .load import Load, shares

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "blue-green"
RATE = 200.0
COUNTED = int(os.environ.get("ULTRAMARINE_BLUE_GREEN", "2000"))  #: requests whose shares are counted


@dataclass(kw_only=True)
class Story:
    """The folder of the example, and the commands that are typed in it."""

    it: Installation
    folder: Path

    def um(self, *words: str, code: int = OK) -> Any:
        """What a command answers as JSON."""
        done = subprocess.run(
            [str(UM), *words, "-o", "json"],
            env={**self.it.environment, "ULTRAMARINE_HOME": str(self.it.home)},
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.folder,
        )
        assert done.returncode == code, f"um {' '.join(words)}: {done.stdout}{done.stderr}\n{self.it.told()}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def invoke(self, *more: str) -> list[float]:
        return self.um("online-endpoint", "invoke", "-n", "diabetes", "--request-file", "sample-request.json", *more)

    def traffic(self, shares: str) -> None:
        self.um("online-endpoint", "update", "-n", "diabetes", "--traffic", shares)

    def load(self, *, name: str = "diabetes", rate: float = RATE) -> Load:
        endpoints = self.it.workspace.online_endpoints
        uri, key = endpoints.get(name)["scoring_uri"], endpoints.credentials(name)["primaryKey"]
        return Load(uri=uri, key=key, body=(self.folder / "sample-request.json").read_bytes(), rate=rate)


@pytest.fixture(scope="module")
def story(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """An installation, with two trained models beside the YAML."""
    folder = tmp_path_factory.mktemp("story") / "blue-green"
    shutil.copytree(EXAMPLE, folder)
    with installed(cache) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        told = Story(it=it, folder=folder)
        job = told.um("job", "create", "-f", "train.yml")["name"]
        until(lambda: it.workspace.jobs.get(job)["status"] == "Completed", "models are trained", seconds=180)
        for name in ("blue", "green"):
            told.um("job", "download", "-n", job, "--output-name", name, "--download-path", str(folder / f"{name}-got"))
            [model] = (folder / f"{name}-got").rglob("ridge.pkl")
            (folder / f"{name}-model").mkdir()
            shutil.copy(model, folder / f"{name}-model")
        yield told


def test_blue_green(story: Story):
    story.um("online-endpoint", "create", "-f", "endpoint.yml")
    story.um("online-deployment", "create", "-f", "blue-deployment.yml", "--all-traffic")
    of_blue = story.invoke()
    with story.load() as load:
        until(lambda: len(load.answers) > RATE, "requests are answered")
        story.um("online-deployment", "update", "-e", "diabetes", "-n", "blue", "--instance-count", "2")
        story.um("online-deployment", "create", "-f", "green-deployment.yml")
        of_green = story.invoke("--deployment-name", "green")
        assert of_green != of_blue
        story.um("online-endpoint", "update", "-n", "diabetes", "--mirror-traffic", "green=10")
        time.sleep(5)
        story.um("online-endpoint", "update", "-n", "diabetes", "--mirror-traffic", "green=0")
        story.traffic("blue=90 green=10")
        moved_at = time.monotonic() + 1
        until(lambda: len(load.since(moved_at)) >= COUNTED, "they are counted", seconds=60 + COUNTED / RATE)
        counted = load.since(moved_at)[:COUNTED]
        story.traffic("blue=0 green=100")
        all_at = time.monotonic() + 1
        until(lambda: len(load.since(all_at)) > RATE, "all go to green")
        story.um("online-deployment", "delete", "-e", "diabetes", "-n", "blue", "--yes")
        gone_at = time.monotonic()
        until(lambda: len(load.since(gone_at)) > RATE, "green goes on alone")
    print(load.told())
    assert not load.failed, f"{load.told()}\n{story.it.told()}"
    assert shares(counted) == pytest.approx({"blue": 90, "green": 10}, abs=1)
    assert shares(load.since(all_at)) == {"green": 100}
    assert {json.dumps(json.loads(each.content)) for each in load.answers} == {
        json.dumps(of_blue),
        json.dumps(of_green),
    }


def test_a_rollout_moves_the_traffic_and_a_bad_one_returns_it(story: Story):
    story.um("online-deployment", "create", "-f", "blue-deployment.yml")
    at_once = ("--hold", "2", "--min-requests", "50", "--pause-on", "error_rate>2%")
    with story.load() as load:
        ended = story.um("online-deployment", "rollout", "-e", "diabetes", "-n", "blue", "--canary", "10", *at_once)
        moved_at = time.monotonic() + 1
        until(lambda: len(load.since(moved_at)) > RATE, "requests go on")
    print(load.told())
    assert (ended["status"], ended["step"]) == ("Completed", 2)
    assert not load.failed, f"{load.told()}\n{story.it.told()}"
    assert shares(load.since(moved_at)) == {"blue": 100}

    (story.folder / "moody").mkdir()
    moody = "def run(raw_data):\n    if ones.pop():\n        raise ValueError('no')\n    return inner(raw_data)\n"
    score = (story.folder / "onlinescoring" / "score.py").read_text().replace("def run(", "def inner(")
    (story.folder / "moody" / "score.py").write_text(f"{score}\nones = [1, 0, 0] * 99999\n\n\n{moody}")
    red = (story.folder / "green-deployment.yml").read_text().replace("green\n", "red\n", 1)
    (story.folder / "red-deployment.yml").write_text(red.replace("./onlinescoring", "./moody"))
    story.um("online-deployment", "create", "-f", "red-deployment.yml")
    with story.load() as load:
        ended = story.um("online-deployment", "rollout", "-e", "diabetes", "-n", "red", *at_once, code=FAILED)
        back_at = time.monotonic() + 1
        until(lambda: len(load.since(back_at)) > RATE, "requests go on")
    assert ended["status"] == "Returned"
    assert "error_rate>2% was not to be" in ended["reason"]
    assert {answer.deployment for answer in load.failed} == {"red"}
    assert shares(load.since(back_at)) == {"blue": 100}

    began = time.monotonic()
    story.traffic("blue=50 green=50")
    story.um("online-deployment", "rollback", "-e", "diabetes")
    print(f"changed and taken back in {time.monotonic() - began:.2f} s, with two starts of um")
    traffic: dict[str, int] = story.um("online-endpoint", "show", "-n", "diabetes")["traffic"]
    assert {name: share for name, share in traffic.items() if share} == {"blue": 100}


SLOW = """
import time


def init():
    pass


def run(raw_data):
    time.sleep(0.2)
    return 1
"""


def test_replicas_follow_the_requests_from_none_to_four_and_back(story: Story):
    """Each answers five requests a second, one at a time: fourteen a second keep 2.8 of four busy."""
    (story.folder / "slow").mkdir()
    (story.folder / "slow" / "score.py").write_text(SLOW)
    there, folder = story.it.workspace, story.folder
    there.online_endpoints.create_or_update({"name": "elastic"})
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 4, "polling_interval": 1}
    there.online_deployments.create_or_update(
        {
            "name": "blue",
            "endpoint_name": "elastic",
            "model": {"path": "blue-model"},
            "code_configuration": {"code": "slow", "scoring_script": "score.py"},
            "environment": "azureml:minimal@latest",
            "instance_type": SIZE,
            "request_settings": {"max_concurrent_requests_per_instance": 1, "max_queue_wait_ms": 60_000},
            "scale_settings": {**scale, "cooldown": 5, "idle_time_before_scale_down": 3},
        },
        folder=folder,
    )
    assert there.online_deployments.wait("blue", "elastic", timeout_s=120)["provisioning_state"] == "Succeeded"
    there.online_endpoints.update("elastic", {"traffic": {"blue": 100}})

    def count() -> int:
        return story.it.workspace.online_deployments.get("blue", "elastic")["instance_count"]

    def answering() -> int:
        return sum(row["answers"] for row in story.it.workspace.online_deployments.get("blue", "elastic")["replicas"])

    until(lambda: count() == answering() == 0, "none is kept", seconds=60)
    with story.load(name="elastic", rate=1) as first:
        until(lambda: count() == 1 and first.answers, "one came", seconds=60)
    with story.load(name="elastic", rate=14) as many:
        until(lambda: count() == 4, "four are wanted", seconds=60)
        until(lambda: answering() == 4, "four answer", seconds=60)
        time.sleep(5)
    until(lambda: count() == answering() == 0, "all went", seconds=90)
    print(first.told(), many.told(), sep="\n")
    assert not first.failed, f"{first.told()}\n{story.it.told()}"
    assert not many.failed, f"{many.told()}\n{story.it.told()}"
