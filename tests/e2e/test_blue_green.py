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

from .installation import UM, Installation, installed, until
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

    def um(self, *words: str) -> Any:
        """What a command answers as JSON."""
        done = subprocess.run(
            [str(UM), *words, "-o", "json"],
            env={**self.it.environment, "ULTRAMARINE_HOME": str(self.it.home)},
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"um {' '.join(words)}: {done.stdout}{done.stderr}\n{self.it.told()}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def invoke(self, *more: str) -> list[float]:
        return self.um("online-endpoint", "invoke", "-n", "diabetes", "--request-file", "sample-request.json", *more)

    def traffic(self, shares: str) -> None:
        self.um("online-endpoint", "update", "-n", "diabetes", "--traffic", shares)

    def load(self, **more: Any) -> Load:
        endpoints = self.it.workspace.online_endpoints
        uri, key = endpoints.get("diabetes")["scoring_uri"], endpoints.credentials("diabetes")["primaryKey"]
        body = (self.folder / "sample-request.json").read_bytes()
        return Load(uri=uri, key=key, body=body, rate=RATE, **more)


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
