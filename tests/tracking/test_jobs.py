"""A job's own script, with MLflow's client in an environment of its own, against the real server."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from ultramarine.domain.errors import NotFound
from ultramarine.tracking.artifacts import ArtifactLocation
from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.registry import NewVersion
from ultramarine.tracking.variables import IN_JOB_ZIP, TOKEN_VARIABLE, in_job_zip, job_variables, python_path

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
    given = {
        name: value.replace(f"{{{{file:{IN_JOB_ZIP}}}}}", str(folder / IN_JOB_ZIP)) for name, value in variables.items()
    }
    (folder / IN_JOB_ZIP).write_bytes(in_job_zip())
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **given}
    done = subprocess.run([python, "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def variables(gateway: Gateway, run_id: str, *, experiment: str) -> dict[str, str]:
    gateway.runs["token-a"] = run_id
    told = job_variables(run_id=run_id, experiment=experiment)
    told = {name: value.replace("{{server}}", gateway.address) for name, value in told.items() if value != "{{ca}}"}
    return {**told, TOKEN_VARIABLE: "token-a", "PYTHONPATH": python_path(None)}


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


PLAIN = """
import os, mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.autolog()
x, y = load_iris(return_X_y=True, as_frame=True)
rank = os.environ.get("ULTRAMARINE_RANK", "0")
LogisticRegression(max_iter=300, C=0.5 + int(rank)).fit(x, y)
mlflow.log_metric("mine" + rank, 1.0)
"""


async def test_what_is_logged_after_an_autologged_fit_is_in_the_jobs_run(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, any_job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment=f"plain-{run_id}")
    given = variables(gateway, run_id, experiment=f"plain-{run_id}")
    printed = await asyncio.to_thread(run_job, any_job_python, PLAIN, given, tmp_path)
    assert "requirements" not in printed, "nothing is said of requirements that cannot be found out"
    assert await runs_of(client, run_id, gateway) == {run_id: None}
    run = await client.runs.get("team-a", run_id)
    assert (run.status, run.params["C"], run.metrics["mine0"]) == ("FINISHED", "0.5", 1.0)
    assert "training_accuracy_score" in run.metrics
    model = await client.runs.resolve("team-a", f"runs:/{run_id}/model")
    required = (await downloaded(client, model / "requirements.txt")).decode()
    assert "scikit-learn==" in required


async def runs_of(client: MlflowClient, run_id: str, gateway: Gateway) -> dict[str, str | None]:
    """The runs of the experiment of this run, each with its parent."""
    experiment = (await client.runs.get("team-a", run_id)).experiment_id
    async with httpx.AsyncClient(headers={"authorization": "Bearer token-a"}) as http:
        asked = await http.post(f"{gateway.address}{SEARCH}", json={"experiment_ids": [experiment]})
    found = [await client.runs.get("team-a", run["info"]["run_id"]) for run in asked.json()["runs"]]
    return {run.id: run.tags.get("mlflow.parentRunId") for run in found}


RUNS = """
import mlflow

names = {}
def began(name, run):
    names[name] = run.info.run_id

with mlflow.start_run() as run:
    began("first", run)
with mlflow.start_run(tags={"mine": "1"}) as run:
    began("again", run)
    with mlflow.start_run(nested=True) as inner:
        began("nested", inner)
with mlflow.start_run(run_name="evaluation") as run:
    began("named", run)
with mlflow.start_run(description="of another kind") as run:
    began("described", run)
client = mlflow.MlflowClient()
began("asked for", client.create_run(client.get_run(names["first"]).info.experiment_id))
began("elsewhere", client.create_run(client.create_experiment("of {run_id}")))
mlflow.log_param("late", 1)
began("late", mlflow.active_run())
print("began " + ";".join(f"{name}={id}" for name, id in names.items()))
"""


async def test_a_job_goes_on_with_its_run_until_it_says_that_one_is_its_own(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, any_job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment=f"runs-{run_id}", name="train", tags={"of": "job"})
    given = variables(gateway, run_id, experiment=f"runs-{run_id}")
    script = RUNS.replace("{run_id}", run_id)
    printed = await asyncio.to_thread(run_job, any_job_python, script, given, tmp_path)
    began = dict(pair.split("=") for pair in printed.partition("began ")[2].split("\n")[0].split(";"))
    assert {name for name, id in began.items() if id == run_id} == {"first", "again", "late"}
    own = {began[name]: run_id for name in ("nested", "named", "described", "asked for")}
    assert await runs_of(client, run_id, gateway) == {run_id: None, **own}
    assert "mlflow.parentRunId" not in (await client.runs.get("team-a", began["elsewhere"])).tags
    run = await client.runs.get("team-a", run_id)
    assert (run.name, run.tags["of"], run.tags["mine"], run.tags["mlflow.user"]) == ("train", "job", "1", "ada")
    assert run.params["late"] == "1"


FITS = """
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

mlflow.autolog(log_models=False)
x, y = load_iris(return_X_y=True, as_frame=True)
LogisticRegression(max_iter=300, C=0.5).fit(x, y)
LogisticRegression(max_iter=300, C=0.25).fit(x, y)
mlflow.log_metric("mine", 1.0)
mlflow.end_run()
"""


async def test_each_further_autologged_fit_is_a_run_under_the_jobs(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment=f"fits-{run_id}")
    given = variables(gateway, run_id, experiment=f"fits-{run_id}")
    await asyncio.to_thread(run_job, job_python, FITS, given, tmp_path)
    runs = [await client.runs.get("team-a", id) for id in await runs_of(client, run_id, gateway)]
    assert {run.id == run_id: (run.params["C"], "mine" in run.metrics) for run in runs} == {
        True: ("0.5", True),
        False: ("0.25", False),
    }


RANKS = (
    PLAIN
    + """
info = mlflow.sklearn.log_model(LogisticRegression().fit(x, y), "other", registered_model_name=os.environ["AS"])
print("uri", info.model_uri)
"""
)


async def test_rank_0_alone_autologs_and_logs_models_and_every_rank_logs_what_it_says(
    client: MlflowClient, control: ControlPlane, gateway: Gateway, any_job_python: Path, run_id: str, tmp_path: Path
):
    control.add(run_id, workspace="team-a", experiment=f"ranks-{run_id}")
    given = variables(gateway, run_id, experiment=f"ranks-{run_id}") | {"AS": f"model-{run_id}"}
    ranks = [{**given, "ULTRAMARINE_RANK": str(rank)} for rank in range(3)]
    ranks[2] |= {"ULTRAMARINE_RANK": "0", "RANK": "1", "WORLD_SIZE": "2"}  # as torchrun starts it
    folders = [tmp_path / str(rank) for rank in range(3)]
    for folder in folders:
        folder.mkdir()
    await asyncio.to_thread(run_job, any_job_python, RANKS, ranks[0], folders[0])
    creations = [asked for asked in gateway.requests if asked in MODEL_CREATIONS]
    assert len(creations) >= 2, "the autologged model and the other one"
    for variables_of_rank, folder in zip(ranks[1:], folders[1:], strict=True):
        said = await asyncio.to_thread(run_job, any_job_python, RANKS, variables_of_rank, folder)
        assert f"uri runs:/{run_id}/other" in said
        assert "WARNING" not in said
        assert "Traceback" not in said
    run = await client.runs.get("team-a", run_id)
    assert (run.params["C"], run.metrics["mine0"], run.metrics["mine1"]) == ("0.5", 1.0, 1.0)
    assert [version.version for version in await client.registry.versions("team-a", f"model-{run_id}")] == [1]
    assert [asked for asked in gateway.requests if asked in MODEL_CREATIONS] == creations, "none by other ranks"


#: One of these is asked for each logged model, by the third major version of the client and by the second.
MODEL_CREATIONS = ("POST /mlflow/api/2.0/mlflow/logged-models", "POST /mlflow/api/2.0/mlflow/runs/log-model")
SEARCH = "/mlflow/api/2.0/mlflow/runs/search"
