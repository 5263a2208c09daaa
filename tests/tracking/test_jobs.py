"""A job's own script, with MLflow's client in an environment of its own, against the real server."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ultramarine.domain.errors import NotFound
from ultramarine.tracking.artifacts import ArtifactLocation
from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.registry import NewVersion
from ultramarine.tracking.variables import TOKEN_VARIABLE, job_variables

from .control_plane import ControlPlane
from .gateway import Gateway

AUTOLOG = """
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.autolog()
x, y = load_iris(return_X_y=True, as_frame=True)
with mlflow.start_run():
    LogisticRegression(max_iter=300, C=0.5).fit(x, y)
    mlflow.log_metric("mine", 4.0)
run_id = mlflow.last_active_run().info.run_id
mlflow.register_model(f"runs:/{run_id}/model", "flowers")
mlflow.artifacts.download_artifacts("models:/flowers/1", dst_path="got")
"""


def run_job(python: Path, script: str, variables: Mapping[str, str], folder: Path) -> str:
    """Its output. The environment is what a runner gives a rank: nothing of ours."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **variables}
    done = subprocess.run([python, "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def variables(gateway: Gateway, run_id: str, *, experiment: str) -> dict[str, str]:
    return {**job_variables(address=gateway.address, run_id=run_id, experiment=experiment), TOKEN_VARIABLE: "token-a"}


async def test_autolog_in_a_job_logs_to_the_jobs_run_and_its_model_can_be_registered(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment="flowers")
    run_job(job_python, AUTOLOG, variables(gateway, run_id, experiment="flowers"), tmp_path)
    run = await client.runs.get("team-a", run_id)
    assert run.status == "FINISHED"
    assert (run.params["C"], run.params["max_iter"], run.metrics["mine"]) == ("0.5", "300", 4.0)
    assert "training_accuracy_score" in run.metrics
    assert len(run.model_ids) == 1
    assert control.asked[run_id] == 1

    by_run = await client.runs.resolve("team-a", f"runs:/{run_id}/model")
    assert by_run == await client.runs.resolve("team-a", f"azureml://jobs/{run_id}/outputs/artifacts/paths/model")
    assert by_run.model_id == run.model_ids[0]
    names = [file.path for file in await client.artifacts.files("team-a", by_run)]
    assert {"MLmodel", "conda.yaml", "requirements.txt"} <= set(names)

    await client.registry.create_version("team-a", "flowers", NewVersion(location=by_run))
    versions = await client.registry.versions("team-a", "flowers")
    assert [(version.version, version.status) for version in versions] == [(2, "READY"), (1, "READY")]
    assert [(await client.files_of("team-a", version)).uri for version in versions] == [by_run.uri, by_run.uri]
    got = {
        str(path.relative_to(tmp_path / "got")): path.read_bytes()
        for path in (tmp_path / "got").rglob("*")
        if path.is_file()
    }
    got.pop("registered_model_meta")  # MLflow's client adds it to what it downloads
    assert got == {name: await downloaded(client, by_run / name) for name in names}


async def downloaded(client: MlflowClient, location: ArtifactLocation) -> bytes:
    return b"".join([piece async for piece in client.artifacts.download("team-a", location)])


NOTES = """
import mlflow

@mlflow.trace
def double(x):
    return 2 * x

mlflow.log_text("hello", "notes/readme.txt")
mlflow.log_param("p", double(1))
mlflow.flush_trace_async_logging()
print("traces:", len(mlflow.search_traces(return_type="list", include_spans=True)))
"""


async def test_files_and_traces_of_a_job_are_kept_and_found(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment="traced")
    printed = run_job(job_python, NOTES, variables(gateway, run_id, experiment="traced"), tmp_path)
    assert "traces: 1" in printed
    paths = ("notes", "notes/readme.txt")
    folder, file = [await client.runs.resolve("team-a", f"runs:/{run_id}/{path}") for path in paths]
    assert folder.uri.endswith(f"/{run_id}/artifacts/notes")
    assert file == folder / "readme.txt"
    assert await downloaded(client, file) == b"hello"
    with pytest.raises(NotFound, match="nothing"):
        await client.runs.resolve("team-a", f"runs:/{run_id}/nothing")
    assert not any(path.endswith("/runs/create") for path in gateway.requests), "no second run was made"


async def test_ranks_of_one_job_log_to_one_run(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment=f"ranks-{run_id}")
    script = "import mlflow, os; mlflow.log_metric('rank' + os.environ['RANK'], 1.0)"
    given = variables(gateway, run_id, experiment=f"ranks-{run_id}")
    ranks = [{**given, "RANK": str(rank)} for rank in range(2)]
    await asyncio.gather(*(asyncio.to_thread(run_job, job_python, script, rank, tmp_path) for rank in ranks))
    assert set((await client.runs.get("team-a", run_id)).metrics) == {"rank0", "rank1"}
