"""What runs, over all workspaces; and asking all of it to end."""

from dataclasses import dataclass

from ultramarine.domain.run import RUN, Run, RunEvent
from ultramarine.planning.state import State
from ultramarine.services.context import Context
from ultramarine.store import allocations, computes, hosts, installation, runs
from ultramarine.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    workspaces: tuple[str, ...]
    state: State
    machines: int = 0  #: that an autoscaler of ours holds, with or without an allocation


async def status(ctx: Context) -> Status:
    async with ctx.read() as tx:
        return await _status(ctx, tx)


async def _status(ctx: Context, tx: Tx) -> Status:
    state = State(
        epoch=ctx.site.epoch,
        runs=await runs.open_ones(tx),
        computes=await computes.every(tx),
        allocations=await allocations.open_ones(tx),
        nodes=await allocations.nodes(tx),
        hosts=await hosts.every(tx),
    )
    return Status(
        workspaces=tuple(w["name"] for w in await installation.workspaces(tx)), state=state, machines=ctx.hub.machines
    )


async def drain(ctx: Context) -> Status:
    """Ask everything that runs to end: jobs are canceled, nodes go. What is still there.

    No new work is taken until the next start.
    """
    ctx.hub.is_draining = True
    async with ctx.begin() as tx:
        for run in await runs.open_ones(tx):
            await _cancel(ctx, tx, run)
        found = await _status(ctx, tx)
    ctx.ring(ctx.serving)
    return found


async def _cancel(ctx: Context, tx: Tx, run: Run) -> None:
    if RunEvent.CANCEL_ASKED in RUN.events(run.status):
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=ctx.clock(), reason="The service is being stopped.")
