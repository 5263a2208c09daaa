"""Jobs: what was asked for. What happened is in `runs`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.errors import NotFound, StaleWrite
from ultramarine.domain.job import Job, JobSpec, Tracking
from ultramarine.domain.names import JobId
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.run import RunStatus
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, fetch_one

_ADD = t.jobs.insert()
_ONE = sa.select(t.jobs).where(
    t.jobs.c.workspace == sa.bindparam("of_workspace"), t.jobs.c.name == sa.bindparam("of_name")
)


async def add(tx: Tx, job: Job) -> None:
    row: dict[str, Any] = {
        "id": job.id,
        "workspace": job.workspace,
        "name": job.name,
        "experiment": job.spec.experiment_name,
        "spec": job.spec.body(),
        "body_sha256": job.body_sha256,
        "user": job.user,
        "attempt": job.attempt,
        "tracking": Tracking.UNKNOWN.value,
        "created_at": job.created_at,
    }
    await tx.execute(_ADD, row)


async def next_attempt(tx: Tx, id: str, *, attempt: int) -> None:
    """From `attempt` to the next one; refused when it is past that."""
    done = await tx.execute(
        t.jobs.update().where(t.jobs.c.id == id, t.jobs.c.attempt == attempt).values(attempt=attempt + 1)
    )
    if done.rowcount != 1:
        raise StaleWrite("job", id)


async def track(tx: Tx, id: str, tracking: Tracking) -> None:
    """Keep what MLflow knows of a job."""
    await tx.execute(t.jobs.update().where(t.jobs.c.id == id).values(tracking=tracking.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """A job that has ended while MLflow has it running."""

    workspace: str
    id: JobId
    status: RunStatus
    ended_at: datetime | None
    attempt: int  #: its last, from 1


async def to_be_told(tx: Tx, *, limit: int = 100) -> Sequence[Untold]:
    j, r = t.jobs.c, t.runs.c
    newest = sa.and_(r.owner_id == j.id, r.ordinal == j.attempt, sa.not_(r.is_open))
    query = sa.select(j.workspace, j.id, r.status, r.ended_at, j.attempt).join(t.runs, newest)
    found = await tx.execute(query.where(j.tracking == Tracking.RUNNING.value).order_by(j.seq).limit(limit))
    return [
        Untold(
            workspace=row.workspace,
            id=JobId(row.id),
            status=RunStatus(row.status),
            ended_at=row.ended_at,
            attempt=row.attempt,
        )
        for row in found
    ]


async def find(tx: Tx, workspace: str, name: str) -> Job | None:
    row = await fetch_one(tx, _ONE, {"of_workspace": workspace, "of_name": name})
    return None if row is None else _job(row)


async def get(tx: Tx, workspace: str, name: str) -> Job:
    if (job := await find(tx, workspace, name)) is None:
        raise NotFound("job", name)
    return job


async def by_id(tx: Tx, id: str) -> Job | None:
    row = await fetch_one(tx, sa.select(t.jobs).where(t.jobs.c.id == id))
    return None if row is None else _job(row)


async def page(tx: Tx, workspace: str, request: PageRequest, *, status: str = "", experiment: str = "") -> Page[Row]:
    """The newest first, as plain columns: nothing is validated on the way out."""
    j, r = t.jobs.c, t.runs.c
    of_job, of_run = (
        (j.name, j.id, j.spec, j.user, j.attempt, j.created_at),
        (r.status, r.reason, r.started_at, r.ended_at),
    )
    query = (
        sa.select(j.seq)
        .add_columns(*of_job, *of_run)
        .join(t.runs, sa.and_(r.owner_id == j.id, r.ordinal == j.attempt))
        .where(j.workspace == workspace)
    )
    if status:
        query = query.where(r.status == status)
    if experiment:
        query = query.where(j.experiment == experiment)
    return await fetch_page(tx, query, request, order=[j.seq], read=lambda row: row, is_descending=True)


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        workspace=row["workspace"],
        name=row["name"],
        spec=JobSpec.read(row["spec"], what=f"job {row['name']}"),
        body_sha256=row["body_sha256"],
        user=row["user"],
        attempt=row["attempt"],
        created_at=row["created_at"],
    )
