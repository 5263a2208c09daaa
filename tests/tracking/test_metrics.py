"""What jobs use is in their runs in MLflow, sent in batches; a server that is away loses nothing that is young."""

from dataclasses import replace
from pathlib import Path

from tests.factories import NOON, later, make_context, make_run

from ultramarine.controllers.metrics import MetricsLoop
from ultramarine.domain.run import OwnerNoun
from ultramarine.domain.usage import RankUse
from ultramarine.store import runs
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate
from ultramarine.tracking.client import MlflowClient

from .control_plane import ControlPlane

USE = RankUse(rank="0", is_alone=True, values={"cpu_percent": 100.0, "memory_bytes": 5e6})
NODE = {"cpus": 2, "disk_bytes": 100, "disk_free_bytes": 50}


async def test_what_a_job_uses_comes_to_its_run_though_the_server_was_away_and_a_replicas_is_dropped(
    client: MlflowClient, control: ControlPlane, run_id: str, tmp_path: Path
):
    migrate(url := f"sqlite:///{tmp_path / 'store.db'}")
    away = make_context(AsyncDatabase(url), tmp_path)
    control.add(run_id, workspace="team-m")
    run = replace(make_run("j1"), owner_id=run_id, workspace="team-m")
    replica = replace(make_run("d1"), owner_noun=OwnerNoun.DEPLOYMENT)
    async with away.begin() as tx:
        await runs.add(tx, run, {})
        await runs.add(tx, replica, {})
    for at in (NOON, later(10), later(20)):
        away.usage.take(run.key, [USE], NODE, at=at)
        away.usage.take(replica.key, [USE], NODE, at=at)
    await MetricsLoop(away).tick()
    assert run.key in away.usage.waiting()
    await MetricsLoop(replace(away, tracking=client)).tick()
    assert away.usage.waiting() == []
    metrics = (await client.runs.get("team-m", run_id)).metrics
    assert metrics["system/cpu_utilization_percentage"] == 50.0
    assert metrics["system/system_memory_usage_megabytes"] == 5.0
    await away.tracking.close()
    await away.db.close()


async def test_points_of_a_run_that_nobody_knows_are_dropped(client: MlflowClient, tmp_path: Path):
    migrate(url := f"sqlite:///{tmp_path / 'store.db'}")
    ctx = make_context(AsyncDatabase(url), tmp_path, tracking=client)
    for at in (NOON, later(10)):
        ctx.usage.take(make_run("j9").key, [USE], NODE, at=at)
    assert ctx.usage.waiting()
    await MetricsLoop(ctx).tick()
    assert ctx.usage.waiting() == []
    await ctx.db.close()
