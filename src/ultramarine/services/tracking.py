"""What the tracking server is told of our runs."""

from typing import Any

from ultramarine.domain.errors import NotFound
from ultramarine.domain.job import Tracking
from ultramarine.services.context import Context
from ultramarine.store import jobs


async def run_row(ctx: Context, id: str) -> dict[str, Any]:
    """A job as MLflow's run: our id is its id. MLflow is told of the job's end, from now on.

    Raises `NotFound` for an id that is not ours.
    """
    async with ctx.begin() as tx:
        job = await jobs.by_id(tx, id)
        if job is None:
            raise NotFound("job", id)
        await jobs.track(tx, id, Tracking.RUNNING)
    return {
        "id": job.id,
        "workspace": job.workspace,
        "name": job.spec.display_name or job.name,
        "experiment": job.spec.experiment_name,
        "user": job.user,
        "started_at_ms": round(job.created_at.timestamp() * 1000),
        "tags": {**job.spec.tags, "ultramarine.job": job.name},
    }
