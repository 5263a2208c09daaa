"""In a kernel of a compute instance the Python client, `um` and MLflow are connected without configuration."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ultramarine import curated
from ultramarine.sdk.connection import of_home
from ultramarine_runner.pythons import find_pythons

from .installation import SIZES, Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DESK = {"cpus": 0.5, "memory_gib": 2.0}
EXECUTE = Path(__file__).parents[1] / "instance" / "execute.py"
NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [{"id": "a", "cell_type": "code", "source": "6 * 7", "metadata": {}, "outputs": [], "execution_count": 0}],
}
JOB = "command: cat said.txt\ncode: .\nenvironment: azureml:minimal@latest\ncompute: local\n"


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache, ULTRAMARINE_SIZES=json.dumps({**SIZES, "desk": DESK})) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        computes = made.workspace.computes
        computes.create_or_update({"name": "mine", "type": "computeinstance", "size": "desk"})
        computes.wait_up("mine")
        yield made


def entered(it: Installation) -> httpx.Client:
    base = f"http://127.0.0.1:{it.port + 2}/instances/default/mine/"
    headers = {"Authorization": f"token {of_home(it.home).token}"}
    return httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False)


def put(client: httpx.Client, path: str, **model: Any) -> None:
    answer = client.put(f"api/contents/{path}", json=model)
    assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def kernel(it: Installation) -> str:
    """A kernel of scikit-learn's environment; its id. The home has a folder with a job, and a notebook."""
    (newest,) = [one for one in it.workspace.environments.list() if one["name"] == "sklearn"]
    with entered(it) as client:
        put(client, "code", type="directory")
        put(client, "code/said.txt", type="file", format="text", content="said in the home")
        put(client, "code/job.yml", type="file", format="text", content=JOB)
        put(client, "short.ipynb", type="notebook", format="json", content=NOTEBOOK)
        made = client.post("api/kernels", json={"name": f"sklearn--{newest['version']}"})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])


def execute(it: Installation, kernel: str, *cells: str) -> list[dict[str, Any]]:
    """By a Jupyter client of its owner's, through the gateway: for each cell what it showed."""
    jupyter = curated.load()["jupyter"]
    lock = jupyter.lock(python=jupyter.choose_python(tuple(find_pythons())), platform=f"linux-{os.uname().machine}")
    python = it.cache / "environments" / lock.digest / "bin" / "python"
    where = [f"127.0.0.1:{it.port + 2}", "/instances/default/mine/", of_home(it.home).token]
    done = subprocess.run([python, EXECUTE, *where, kernel, *cells], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


SUBMIT = """
from pathlib import Path
from ultramarine.sdk import Workspace
workspace = Workspace.connect()
what = {"name": "by-sdk", "command": "cat said.txt", "code": "code"}
job = workspace.jobs.create(what | {"environment": "minimal@latest", "compute": "local"}, folder=Path.cwd())
for event in workspace.jobs.stream(job["name"]):
    pass
workspace.jobs.get("by-sdk")["status"], [each["name"] for each in workspace.jobs.list()]
"""


def test_the_client_makes_and_lists_jobs_which_are_its_owners(it: Installation, kernel: str):
    (shown,) = execute(it, kernel, SUBMIT)
    assert shown["error"] is None, shown
    assert eval(shown["result"]) == ("Completed", ["by-sdk"])
    assert it.log("by-sdk", 1) == "said in the home"
    (owner,) = {each["instance"]["owner"] for each in it.workspace.computes.list() if each["name"] == "mine"}
    assert it.job("by-sdk")["user"] == owner


def test_um_makes_jobs_of_the_homes_files_and_runs_its_notebooks(it: Installation, kernel: str):
    shown, made, run, listed = execute(
        it,
        kernel,
        "!um workspace show -o tsv --query name",
        "!um job create -f code/job.yml --name by-um --stream",
        "!um notebook run short.ipynb --name by-notebook --environment azureml:minimal@latest",
        "!um job list -o tsv --query '[].name'",
    )
    assert "".join(shown["streams"]).split() == ["default"]
    assert "said in the home" in "".join(made["streams"])
    assert it.job("by-um")["status"] == "Completed"
    assert it.job("by-notebook")["status"] == "Completed", run
    assert {"by-um", "by-notebook"} <= set("".join(listed["streams"]).split())
    assert sent(it, "by-notebook") == {"code/job.yml", "code/said.txt", "short.ipynb"}


def sent(it: Installation, job: str) -> set[str]:
    """The files of its code."""
    here = of_home(it.home)
    sha256 = it.job(job)["code"].removeprefix("snapshot:")
    headers = {"authorization": f"Bearer {here.token}"}
    answer = httpx.get(f"{here.url}/api/v1/workspaces/default/snapshots/{sha256}", headers=headers)
    return {each["path"] for each in answer.json()["files"]}


LOG = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.25)
run.info.run_id
"""


def test_what_mlflow_logs_is_tracked_in_the_workspace(it: Installation, kernel: str):
    (shown,) = execute(it, kernel, LOG)
    assert shown["error"] is None, shown
    here = of_home(it.home)
    found = httpx.get(
        f"{here.url}/mlflow/api/2.0/mlflow/runs/get",
        params={"run_id": eval(shown["result"])},
        headers={"authorization": f"Bearer {here.token}"},
        timeout=30,
    ).json()
    assert [(each["key"], each["value"]) for each in found["run"]["data"]["metrics"]] == [("loss", 0.25)]
