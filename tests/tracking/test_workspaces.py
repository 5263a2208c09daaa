"""The end of a workspace, with the real MLflow."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.factories import NOON, make_context, make_host, make_job, make_run

from ultramarine.controllers.workspaces import WorkspaceLoop
from ultramarine.domain.compute import LOCAL, ComputeEvent
from ultramarine.domain.errors import NotFound
from ultramarine.domain.page import PageRequest
from ultramarine.domain.run import RunEvent
from ultramarine.services import identity, workspaces
from ultramarine.services.context import Context
from ultramarine.services.identity import WorkspaceSpec
from ultramarine.store import computes, events, hosts, jobs, runs
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate
from ultramarine.tracking.client import MlflowClient

from .control_plane import SECRET
from .server import Server


@pytest.fixture
async def ctx(tmp_path: Path, client: MlflowClient, home: Path) -> AsyncIterator[Context]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    made = make_context(AsyncDatabase(url), tmp_path, tracking=client)
    secret = home / "run" / "internal.secret"
    secret.write_text(made.secrets.of("internal"))
    async with made.begin() as tx:
        await hosts.put(tx, make_host())
        for name in ("gone", "kept"):
            await identity.found_workspace(tx, made, name, WorkspaceSpec(), now=NOON)
    yield made
    secret.write_text(SECRET + "\n")
    await made.db.close()


async def end(ctx: Context, name: str) -> None:
    """What the loop of runs does once a deleted compute holds no node any more."""
    await workspaces.delete(ctx, name)
    async with ctx.begin() as tx:
        await computes.record(tx, await computes.get(tx, name, LOCAL), ComputeEvent.EMPTIED, now=NOON)


async def test_a_deleted_workspace_leaves_nothing_to_the_next_of_its_name(
    ctx: Context, client: MlflowClient, run_id: str
):
    for workspace in ("gone", "kept"):
        await client.runs.create_experiment(workspace, f"e-{run_id}")
        await client.registry.create(workspace, f"m-{run_id}")
    async with ctx.begin() as tx:
        run = await runs.add(tx, make_run("j1", workspace="gone"), {})
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=NOON)
        await jobs.add(tx, make_job(workspace="gone"))
    await end(ctx, "gone")
    await WorkspaceLoop(ctx).tick()
    with pytest.raises(NotFound):
        await identity.workspace(ctx, "gone")
    assert await identity.put_workspace(ctx, "gone", WorkspaceSpec())
    async with ctx.read() as tx:
        assert await jobs.find(tx, "gone", "j1") is None
        made = (await events.page(tx, "gone", PageRequest())).rows
    assert [h.event for h in made] == ["created"], "the new compute local, and nothing of the old one"
    with pytest.raises(NotFound):
        await client.runs.experiment_id("gone", f"e-{run_id}")
    assert await client.registry.models("gone") == ()
    assert await client.runs.experiment_id("kept", f"e-{run_id}")
    assert [model.name for model in await client.registry.models("kept")] == [f"m-{run_id}"]


async def test_a_workspace_that_mlflow_never_saw_goes_too(ctx: Context):
    assert await identity.put_workspace(ctx, "unseen", WorkspaceSpec())
    await end(ctx, "unseen")
    await WorkspaceLoop(ctx).tick()
    with pytest.raises(NotFound):
        await identity.workspace(ctx, "unseen")


async def test_nobody_but_the_control_plane_deletes_a_workspace_in_mlflow(server: Server):
    transport = httpx.AsyncHTTPTransport(uds=str(server.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://any") as http:
        for headers in ({}, {"x-ultramarine-internal": "wrong"}):
            named = {"X-MLFLOW-WORKSPACE": "kept"} | headers
            answer = await http.delete("/mlflow/api/2.0/mlflow/workspaces", headers=named)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
