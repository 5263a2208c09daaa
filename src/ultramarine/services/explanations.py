"""Why things are as they are: jobs that wait or have failed, nodes that come and go, and where a job's time went."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ultramarine.domain.errors import Conflict, NotFound
from ultramarine.domain.names import ComputeId
from ultramarine.domain.page import PageRequest
from ultramarine.domain.run import RUN, RunStatus
from ultramarine.planning.actions import Why
from ultramarine.planning.growth import resting
from ultramarine.planning.queue import in_order
from ultramarine.planning.turn import Turn, go_through
from ultramarine.planning.why import ComputeWhy, of_compute
from ultramarine.services import jobs
from ultramarine.services.context import Context
from ultramarine.services.jobs import JobState
from ultramarine.services.look import Look
from ultramarine.store import computes, events
from ultramarine.store import jobs as job_rows

HISTORY = PageRequest(limit=1000)
FINAL = frozenset(status.value for status in RUN.final)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Its `position` among the `queued` runs of its compute, from 1, in the order in which they get their turn."""

    position: int
    queued: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    state: JobState
    waiting: Waiting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How long an attempt was in one status. `seconds` of the one that it is in now grows."""

    attempt: int
    status: str
    began_at: datetime
    seconds: float
    reason: str


async def of_job(ctx: Context, workspace: str, name: str) -> Explanation:
    state = await jobs.get(ctx, workspace, name)
    run = state.run
    if run.status is not RunStatus.QUEUED:
        return Explanation(state=state, waiting=None)
    pool, turn = await _turn(ctx, run.compute)
    same = [each.key for each in in_order(turn.room.state) if each.compute == run.compute]
    told = turn.room.reasons.get(run.key)
    why = told if told is not None and ctx.hub.has_published(pool) else Why(words=run.reason)
    position = same.index(run.key) + 1 if run.key in same else 1
    waiting = Waiting(position=position, queued=max(1, len(same)), why=why)
    return Explanation(state=state, waiting=waiting)


async def of_nodes(ctx: Context, workspace: str, name: str) -> ComputeWhy:
    """Why each node of a compute is kept, made or removed."""
    async with ctx.read() as tx:
        compute = await computes.get(tx, workspace, name)
    room = (await _turn(ctx, compute.id))[1].room
    if compute.id not in room.lanes:
        raise NotFound("compute", name)
    return of_compute(room, compute.id, resting=resting(room, compute))


async def _turn(ctx: Context, compute: ComputeId) -> tuple[str, Turn]:
    """What the scheduler of a compute's pool would decide now. Nothing of it is done."""
    async with ctx.read() as tx:
        pool = await computes.pool_of(tx, compute)
        if pool not in ctx.hub.pools:
            raise Conflict(
                f"Nothing looks after the clusters of provider {pool}: it is not configured.",
                hint="An owner configures it again (docs/reference/settings.md) and starts the installation anew.",
            )
        state = await Look(ctx, pool).state(tx)
    return pool, await asyncio.to_thread(go_through, state, ctx.hub.seen(pool), ctx.clock())


async def timeline(ctx: Context, workspace: str, name: str) -> Sequence[Phase]:
    """Where the time of a job went, attempt by attempt."""
    async with ctx.read() as tx:
        job = await job_rows.get(tx, workspace, name)
        happened = (await events.of(tx, job.id, HISTORY)).rows
    return list(phases(happened, now=ctx.clock()))


def phases(happened: Iterable[events.Happening], *, now: datetime) -> Iterator[Phase]:
    """`happened`: of one job, the oldest first. Moves within a status go on with it; an end takes no time."""
    attempt, open_phase = 0, None
    for h in happened:
        attempt += h.event in ("created", "tried_again")
        if open_phase is not None and (open_phase.attempt, open_phase.status) == (attempt, h.status):
            continue
        if open_phase is not None and open_phase.status not in FINAL:
            yield replace(open_phase, seconds=(h.at - open_phase.began_at).total_seconds())
        open_phase = Phase(attempt=attempt, status=h.status, began_at=h.at, seconds=0.0, reason=h.reason)
        if h.status in FINAL:
            yield open_phase
    if open_phase is not None and open_phase.status not in FINAL:
        yield replace(open_phase, seconds=(now - open_phase.began_at).total_seconds())
