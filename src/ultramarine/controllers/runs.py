"""The scheduler's loop: one for a pool of hosts, all of whose queue and room it sees."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from ultramarine.domain.allocation import ALLOCATION, AllocationEvent, AllocationStatus
from ultramarine.domain.errors import StaleWrite, UltramarineError
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import AllocationKey
from ultramarine.domain.run import OwnerNoun, Run
from ultramarine.drivers.protocol import Driver, Observation
from ultramarine.planning.actions import (
    AddAllocation,
    CallAllocate,
    CallForget,
    CallRelease,
    CallSweep,
    Effect,
    Plan,
    RecordAllocation,
    RecordCompute,
    RecordRun,
)
from ultramarine.planning.state import State
from ultramarine.planning.turn import plan
from ultramarine.services.context import Context
from ultramarine.services.desired import Renderer
from ultramarine.services.look import Look
from ultramarine.store import allocations, computes, hosts, jobs, leases, runs
from ultramarine.store.database import Tx

log = logging.getLogger(__name__)
T = TypeVar("T")
LEASE_TTL = timedelta(seconds=15)
RENEW_AFTER = LEASE_TTL / 3  #: a lease younger than this is not written again: that would be a commit in every turn
RELEASE_GRACE_S = 15.0
LARGE = 500  #: runs and nodes of which a plan takes longer than the event loop may stand still
LAG = timedelta(seconds=10)  #: a loop that stood still so long begins its listening anew


class RunLoop:
    def __init__(self, ctx: Context, driver: Driver, *, owner: str, pool: str = THIS_MACHINE) -> None:
        self._ctx, self._driver, self._owner, self._pool = ctx, driver, owner, pool
        self._lease = f"hosts/{pool}"
        self._renderer = Renderer(ctx)
        self._look = Look(ctx, pool)
        self._led_at = ctx.clock()  #: the beginning of our last turn
        self._generation: int | None = None  #: of the lease that we hold
        self._renewed_at = self._led_at

    async def tick(self) -> None:
        """One turn. It may die anywhere: the next turn, here or on another server, goes on from there."""
        now = self._ctx.clock()  # of all that is judged in this turn: we may stand still in the middle of it
        if not await self._lead(now):
            return
        self._ctx.hub.observed(self._pool, await self._observe(), now=now)
        async with self._ctx.read() as tx:
            state = await self._look.state(tx)
        made = await self._plan(state, now)
        if made.records or made.reasons or made.checkpoints:
            written = await self._record(made)
            state = state.with_runs(written)
            await _worked_out(state, lambda: self._look.knows(written, made.reasons))
            self._tell(written)
        await self._publish(state)
        done = [await self._act(effect) for effect in made.effects]
        if any(done) or not all(isinstance(record, RecordRun) for record in made.records):
            self._ctx.work.ring()  # what was done may allow the next step at once

    async def _lead(self, now: datetime) -> bool:
        """Hold the pool's lease. Who begins to lead, stood still or had its clock set has a gap in its listening."""
        held = self._generation
        if held is None or not timedelta(0) <= now - self._renewed_at < RENEW_AFTER:
            async with self._ctx.begin() as tx:
                held = await leases.hold(tx, self._lease, owner=self._owner, now=now, ttl=LEASE_TTL)
            self._renewed_at = now
        if held != self._generation:
            self._ctx.hub.withdraw(self._pool)  # what we have published is not the truth any more
            self._look = Look(self._ctx, self._pool)
        if held != self._generation or not timedelta(0) <= now - self._led_at <= LAG:
            self._ctx.hub.listen_anew(self._pool, now)
        self._led_at, self._generation = now, held
        return held is not None

    @asynccontextmanager
    async def _begin_act(self) -> AsyncGenerator[Tx]:
        """A transaction in which we still lead. Raises `StaleWrite` when another server has taken over since."""
        async with self._ctx.begin() as tx:
            try:
                assert self._generation is not None
                await leases.check(tx, self._lease, owner=self._owner, generation=self._generation)
            except StaleWrite:
                self._generation = None
                self._ctx.hub.withdraw(self._pool)
                raise
            yield tx

    async def _observe(self) -> Observation | None:
        """What the driver says.

        A target that does not answer says nothing, None: what runners report is followed all the same.
        """
        try:
            return await self._driver.observe()
        except (OSError, UltramarineError) as failure:
            log.warning("driver %s: observe: %s", self._driver.kind, failure)
            return None

    async def _plan(self, state: State, now: datetime) -> Plan:
        seen = self._ctx.hub.seen(self._pool)
        made = await _worked_out(state, lambda: plan(state, seen, now))
        if made.records or made.reasons:
            self._ctx.recorder.keep(now, state, seen=seen, made=made)
        return made

    async def _record(self, made: Plan) -> Sequence[Run]:
        """All records of a turn, in one transaction. The runs as they were written."""
        now, written = self._ctx.clock(), list[Run]()
        async with self._begin_act() as tx:
            await allocations.use(tx, made.nodes, now=now)
            await hosts.claim(tx, made.hosts)
            for record in made.records:
                match record:
                    case RecordRun():
                        written += await self._record_run(tx, record)
                    case AddAllocation():
                        await computes.update(tx, record.compute, now=now)
                        await allocations.add(tx, record.allocation)
                    case RecordAllocation():
                        await allocations.record(tx, record.allocation, record.event, now=now, reason=record.reason)
                    case RecordCompute():
                        await computes.record(tx, record.compute, record.event, now=now, reason=record.reason)
            await runs.explain(tx, made.reasons)
            await runs.keep_checkpoints(tx, made.checkpoints)
        self._ctx.measures.recorded(made.records)
        return written

    def _tell(self, written: Sequence[Run]) -> None:
        self._ctx.changes.ring()
        if any(run.owner_noun is not OwnerNoun.JOB for run in written):
            self._ctx.serving.ring()

    async def _record_run(self, tx: Tx, record: RecordRun) -> Sequence[Run]:
        now, run = self._ctx.clock(), record.run
        new = await runs.record(tx, run, record.event, now=now, reason=record.reason, changes=record.changes)
        if record.again is None:
            return (new,)
        await jobs.next_attempt(tx, run.owner_id, attempt=run.ordinal)
        spec = (await runs.specs(tx, [run.key]))[run.key]
        again = replace(record.again, created_at=now, changed_at=now)  # not when it was planned: it follows that end
        return (new, await runs.add(tx, again, spec, event="tried_again"))

    async def _publish(self, state: State) -> None:
        """`state`: what was seen in this turn, and what it has made of it."""
        async with self._ctx.read() as tx:
            desired = await self._renderer.render(tx, state.nodes, state.runs)
        self._ctx.hub.publish(self._pool, desired)

    async def _act(self, effect: Effect) -> bool:
        """One effect and its record. Whether it was done.

        A driver that fails is asked again, ever more slowly; what it said is logged, and told to who waits for it.
        """
        key = effect.key if isinstance(effect, CallSweep) else effect.allocation.key
        async with self._begin_act():
            pass  # who stood still since the plan, and leads no more, asks nothing of a driver
        try:
            await self._ask(effect)
        except (OSError, UltramarineError) as failure:
            log.warning("%s: %s", effect, failure)
            self._ctx.hub.refused(self._pool, key, str(failure) or type(failure).__name__, now=self._ctx.clock())
            return False
        self._ctx.hub.agreed(self._pool, key)
        match effect:
            case CallAllocate():
                await self._record_effect(key, AllocationEvent.REQUESTED)
            case CallForget():
                await self._record_effect(key, AllocationEvent.CLEANED_UP)
            case _:
                pass
        return True

    async def _ask(self, effect: Effect) -> None:
        match effect:
            case CallAllocate(allocation=allocation):
                await self._driver.allocate(allocation)
            case CallRelease(allocation=allocation):
                await self._driver.release(allocation.key, grace_s=RELEASE_GRACE_S)
            case CallForget(allocation=allocation):
                await self._driver.forget(allocation.key)
            case CallSweep(key=key, is_over=True):
                await self._driver.forget(key)
            case CallSweep(key=key):
                await self._driver.release(key, grace_s=RELEASE_GRACE_S)

    async def _record_effect(self, key: AllocationKey, event: AllocationEvent) -> None:
        """The allocation may have moved meanwhile (its runner said hello): the event is applied to what it is now."""
        async with self._begin_act() as tx:
            now_is = await allocations.get(tx, key)
            if event not in ALLOCATION.events(now_is.status) or now_is.status is AllocationStatus.UP:
                return
            await allocations.record(tx, now_is, event, now=self._ctx.clock())


async def _worked_out(state: State, work: Callable[[], T]) -> T:
    """In a thread, where the event loop would stand still for too long."""
    is_large = len(state.runs) + len(state.nodes) > LARGE
    return await asyncio.to_thread(work) if is_large else work()
