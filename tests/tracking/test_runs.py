"""Runs are made on first touch, with the job's id, in the job's workspace."""

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ultramarine.domain.errors import NotFound
from ultramarine.tracking.client import MlflowClient
from ultramarine.tracking.connection import API, Connection
from ultramarine.tracking.errors import TrackingUnavailable

from .control_plane import ControlPlane
from .server import Server


async def test_a_run_is_made_from_its_job_when_it_is_first_asked_for(
    client: MlflowClient, control: ControlPlane, run_id: str
):
    control.add(run_id, experiment="first touch", name="cancer-01", tags={"ultramarine.compute": "local"})
    run = await client.runs.get("default", run_id)
    assert (run.id, run.name, run.status) == (run_id, "cancer-01", "RUNNING")
    assert run.tags["mlflow.user"] == "ada"
    assert run.tags["ultramarine.compute"] == "local"
    assert run.experiment_id == await client.runs.experiment_id("default", "first touch")
    assert run.artifacts.uri == f"mlflow-artifacts:/workspaces/default/{run.experiment_id}/{run_id}/artifacts"


async def test_the_control_plane_is_asked_once_for_a_run(client: MlflowClient, control: ControlPlane, run_id: str):
    control.add(run_id)
    for value in range(5):
        await client.runs.set_tag("default", run_id, key="k", value=str(value))
    assert control.asked[run_id] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("runs/log-metric", {"key": "m", "value": 1.0, "timestamp": 1, "step": 0}),
        ("runs/log-parameter", {"key": "p", "value": "1"}),
        ("runs/set-tag", {"key": "t", "value": "1"}),
        ("runs/log-batch", {"metrics": [{"key": "m", "value": 2.0, "timestamp": 1, "step": 0}]}),
        ("runs/update", {"status": "RUNNING"}),
        ("runs/outputs", {"models": []}),
        ("runs/log-inputs", {"datasets": []}),
    ],
)
async def test_any_first_word_about_a_run_makes_it(
    server: Server, client: MlflowClient, control: ControlPlane, run_id: str, path: str, body: dict[str, object]
):
    control.add(run_id)
    async with Connection(server.socket) as connection:
        await connection.send(
            "POST", "default", f"{API}/{path}", about=("run", run_id), body={"run_id": run_id, **body}
        )
    assert (await client.runs.get("default", run_id)).name == control.runs[run_id]["name"]


@pytest.fixture
def all_at_once(control: ControlPlane) -> Iterator[int]:
    """So many must have asked the control plane before any of them goes on to make the run."""
    control.together = threading.Barrier(8)
    yield control.together.parties
    control.together = None


async def test_first_touches_at_the_same_instant_make_one_run_in_one_experiment(
    client: MlflowClient, control: ControlPlane, all_at_once: int, run_id: str
):
    control.add(run_id, experiment=f"race-{run_id}")
    runs = await asyncio.gather(*(client.runs.get("default", run_id) for _ in range(all_at_once)))
    assert control.asked[run_id] == all_at_once
    assert len({run.experiment_id for run in runs}) == 1
    names = [name for _, name in await client.runs.experiments("default")]
    assert names.count(f"race-{run_id}") == 1


async def test_runs_of_many_jobs_of_one_new_experiment_share_it(
    client: MlflowClient, control: ControlPlane, all_at_once: int, run_id: str
):
    ids = [control.add(secrets.token_hex(16), experiment=f"shared-{run_id}") for _ in range(all_at_once)]
    runs = await asyncio.gather(*(client.runs.get("default", each) for each in ids))
    assert len({run.experiment_id for run in runs}) == 1


async def test_an_id_that_is_no_job_is_not_found(client: MlflowClient, run_id: str):
    with pytest.raises(NotFound, match=run_id):
        await client.runs.get("default", run_id)


async def test_a_run_of_another_workspace_is_not_found(client: MlflowClient, control: ControlPlane, run_id: str):
    control.add(run_id, workspace="team-a")
    with pytest.raises(NotFound):
        await client.runs.get("team-b", run_id)
    assert (await client.runs.get("team-a", run_id)).id == run_id
    with pytest.raises(NotFound):  # now that it has its row, too
        await client.runs.get("team-b", run_id)
    assert "iris" not in [name for _, name in await client.runs.experiments("team-b")]


async def test_workspace_names_that_mlflow_would_refuse_are_taken(
    client: MlflowClient, control: ControlPlane, run_id: str
):
    names = ["w", "Team_A.1", "team_a.1", "x-1", "api", "n" * 100]
    for number, workspace in enumerate(names):
        await client.runs.create_experiment(workspace, f"only {number}")
    for number, workspace in enumerate(names):
        assert f"only {number}" in [name for _, name in await client.runs.experiments(workspace)]
        assert f"only {number - 1}" not in [name for _, name in await client.runs.experiments(workspace)]
    control.add(run_id, workspace="Team_A.1")
    assert (await client.runs.get("Team_A.1", run_id)).id == run_id


async def test_while_the_control_plane_is_away_unknown_runs_are_unavailable_and_known_ones_work(
    client: MlflowClient, control: ControlPlane, run_id: str
):
    known = control.add(secrets.token_hex(16))
    await client.runs.get("default", known)
    control.add(run_id)
    control.is_down = True
    try:
        await client.runs.set_tag("default", known, key="still", value="works")
        with pytest.raises(TrackingUnavailable, match="500"):
            await client.runs.get("default", run_id)
    finally:
        control.is_down = False
    assert (await client.runs.get("default", run_id)).id == run_id


async def test_a_run_ends_with_the_status_and_time_that_it_is_given(
    client: MlflowClient, control: ControlPlane, run_id: str
):
    control.add(run_id)
    await client.runs.update("default", run_id, status="FAILED", end_time_ms=1_764_000_009_000)
    assert (await client.runs.get("default", run_id)).status == "FAILED"


async def test_a_job_that_has_not_started_is_scheduled(client: MlflowClient, control: ControlPlane, run_id: str):
    control.add(run_id, started_at_ms=None)
    assert (await client.runs.get("default", run_id)).status == "SCHEDULED"


async def test_a_job_in_a_deleted_experiment_brings_the_experiment_back(
    server: Server, client: MlflowClient, control: ControlPlane, run_id: str
):
    experiment_id = await client.runs.ensure_experiment("default", f"deleted-{run_id}")
    async with Connection(server.socket) as connection:
        body = {"experiment_id": experiment_id}
        await connection.send(
            "POST", "default", f"{API}/experiments/delete", about=("experiment", experiment_id), body=body
        )
    control.add(run_id, experiment=f"deleted-{run_id}")
    await client.runs.get("default", run_id)
    await client.runs.set_tag("default", run_id, key="k", value="v")
    assert (experiment_id, f"deleted-{run_id}") in await client.runs.experiments("default")


async def test_an_experiment_is_ensured_by_many_at_once(client: MlflowClient, run_id: str):
    ids = await asyncio.gather(*(client.runs.ensure_experiment("team-a", f"e-{run_id}") for _ in range(10)))
    assert len(set(ids)) == 1


async def test_a_server_that_is_not_there_is_unavailable_at_once(tmp_path: Path):
    async with MlflowClient(tmp_path / "none.sock") as client:
        began = time.monotonic()
        with pytest.raises(TrackingUnavailable) as raised:
            await client.runs.get("default", "0" * 32)
        assert time.monotonic() - began < 1
        assert raised.value.hint


async def test_the_runs_below_a_run_that_was_killed_end_with_it(
    server: Server, client: MlflowClient, control: ControlPlane, run_id: str
):
    control.add(run_id, experiment=f"sweep-{run_id}")
    experiment = (await client.runs.get("default", run_id)).experiment_id

    async def child(connection: Connection, of: str) -> str:
        tags = [{"key": "mlflow.parentRunId", "value": of}]
        body = {"experiment_id": experiment, "tags": tags}
        made = await connection.send("POST", "default", f"{API}/runs/create", about=("run", of), body=body)
        return made["run"]["info"]["run_id"]

    async with Connection(server.socket) as connection:
        running, finished = [await child(connection, run_id) for _ in range(2)]
        below = await child(connection, running)
        another = await child(connection, secrets.token_hex(16))
    await client.runs.update("default", finished, status="FINISHED", end_time_ms=1_764_000_000_000)
    await client.runs.end_children("default", run_id, status="KILLED", end_time_ms=1_764_000_009_000)
    seen = [(await client.runs.get("default", each)).status for each in (running, below, finished, another, run_id)]
    assert seen == ["KILLED", "KILLED", "FINISHED", "RUNNING", "RUNNING"]
