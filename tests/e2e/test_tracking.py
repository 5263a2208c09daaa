"""Jobs that log to the real MLflow as they would anywhere: what they log is in the job's run, once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ultramarine.domain.errors import NotFound
from ultramarine.sdk.connection import of_home

from .installation import Installation, installed, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HERE = Path(__file__).parent
TRAINING_S_MAX = 300  #: on a new machine scikit-learn is downloaded first
API = "/mlflow/api/2.0/mlflow"


@pytest.fixture(scope="module")
def it(cache: Path) -> Iterator[Installation]:
    with installed(cache) as made:
        made.up()
        made.pid("mlflow", within_s=300)
        cluster = {"name": "two", "type": "amlcompute", "size": "STANDARD_F1S", "max_instances": 2}
        made.workspace.computes.create_or_update(cluster)
        yield made


def mlflow(it: Installation, path: str, *, workspace: str = "", **body: Any) -> dict[str, Any]:
    """What MLflow answers the owner, through the gateway."""
    here = of_home(it.home)
    headers = {"authorization": f"Bearer {here.token}", "x-mlflow-workspace": workspace}
    answer = httpx.post(f"{here.url}{API}/{path}", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_of_two_nodes_with_two_processes_each_that_autolog_one_model_comes(it: Installation):
    it.workspace.jobs.create_or_update(
        {
            "name": "flowers",
            "command": "python train.py",
            "code": "training",
            "environment": "azureml:sklearn@latest",
            "compute": "azureml:two",
            "resources": {"instance_count": 2},
            "distribution": {"type": "pytorch", "process_count_per_instance": 2},
            "experiment_name": "flowers",
        },
        folder=HERE,
    )
    job = it.comes_to("flowers", "Completed", within_s=TRAINING_S_MAX)
    said = {rank: log(it, "flowers", str(rank)) for rank in range(4)}
    for rank in (1, 2, 3):
        assert "WARNING" not in said[rank], said[rank]
        assert "Traceback" not in said[rank], said[rank]
    assert "requirements" not in said[0], said[0]

    experiments = mlflow(it, "experiments/search", max_results=100)["experiments"]
    of_job = next(each["experiment_id"] for each in experiments if each["name"] == "flowers")
    (run,) = mlflow(it, "runs/search", experiment_ids=[of_job])["runs"]
    assert run["info"]["run_id"] == job["id"]
    params = {each["key"]: each["value"] for each in run["data"]["params"]}
    metrics = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert params["C"] == "1.0", "rank 0's, and no other's"
    assert {name: value for name, value in metrics.items() if name.startswith("of ")} == {
        f"of rank {rank}": rank for rank in range(4)
    }
    (model,) = mlflow(it, "logged-models/search", experiment_ids=[of_job])["models"]
    assert (model["info"]["name"], model["info"]["source_run_id"]) == ("model", job["id"])
    assert [each["model_id"] for each in run["outputs"]["model_outputs"]] == [model["info"]["model_id"]]


SWEEP = """
import time, mlflow
with mlflow.start_run():
    with mlflow.start_run(nested=True, run_name="through"):
        mlflow.log_metric("loss", 1.0)
    with mlflow.start_run(nested=True, run_name="under way"):
        mlflow.log_metric("loss", 2.0)
        print("under way", flush=True)
        time.sleep(600)
"""


def test_the_trials_of_a_job_that_is_killed_end_with_it(it: Installation):
    it.workspace.jobs.create_or_update(
        {
            "name": "sweep",
            "command": f"trap '' TERM; python -c '{SWEEP}'",
            "environment": "azureml:sklearn@latest",
            "compute": "azureml:two",
            "experiment_name": "sweep",
        }
    )
    until(lambda: "under way" in log(it, "sweep", "0"), "the second trial", seconds=TRAINING_S_MAX)
    it.workspace.jobs.cancel("sweep")
    job = it.comes_to("sweep", "Canceled")

    def statuses() -> dict[str, str]:
        of_job = mlflow(it, "experiments/search", filter="name = 'sweep'", max_results=1)["experiments"][0]
        found = mlflow(it, "runs/search", experiment_ids=[of_job["experiment_id"]])["runs"]
        return {
            "the job" if run["info"]["run_id"] == job["id"] else run["info"]["run_name"]: run["info"]["status"]
            for run in found
        }

    until(lambda: "RUNNING" not in statuses().values(), "all runs have ended in MLflow")
    assert statuses() == {"the job": "KILLED", "through": "FINISHED", "under way": "KILLED"}


def test_an_owner_looks_into_the_workspace_that_they_name(it: Installation):
    it.workspace.workspaces.create_or_update("vision")
    mlflow(it, "experiments/create", workspace="vision", name="of vision")
    names = {
        workspace: {each["name"] for each in found["experiments"]}
        for workspace in ("vision", "")
        for found in [mlflow(it, "experiments/search", workspace=workspace, max_results=100)]
    }
    assert "of vision" in names["vision"]
    assert "of vision" not in names[""]


def log(it: Installation, job: str, rank: str) -> str:
    try:
        return b"".join(it.workspace.jobs.log(job, attempt=1, rank=rank, file="std_log.txt")).decode()
    except NotFound:  # it has not begun
        return ""
