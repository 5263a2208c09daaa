"""Which allocations are drained, released, forgotten. Which ones are made is in `growth.py`."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from ultramarine.domain.allocation import Allocation, AllocationEvent, AllocationStatus
from ultramarine.domain.compute import Compute, ComputeEvent, ComputeStatus
from ultramarine.domain.run import RUN, Run, RunEvent
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import (
    CallAllocate,
    CallForget,
    CallRelease,
    CallSweep,
    Effect,
    Record,
    RecordAllocation,
    RecordCompute,
    RecordRun,
)
from ultramarine.planning.placement import Room
from ultramarine.planning.seen import Silence

S, E = AllocationStatus, AllocationEvent


def effects(room: Room) -> Iterator[Effect]:
    """What drivers are to be asked. Asking again is harmless, so nothing remembers that it was asked."""
    for allocation in room.state.allocations:
        match allocation.status:
            case S.WANTED:
                yield CallAllocate(allocation=allocation)
            case S.RELEASING if not room.seen.has_ended(allocation.key):
                yield CallRelease(allocation=allocation)
            case S.ENDED if not room.state.placed.get(allocation.node):  # its end is still to be recorded of its runs
                yield CallForget(allocation=allocation)
            case _:
                pass
    yield from _sweep(room)


def _sweep(room: Room) -> Iterator[CallSweep]:
    """Observed, but of no row.

    It was started by a server that was cut off from the store meanwhile, or before a backup was restored. Rows are
    written before anything is started, and were read after this observation: so nothing new can be among them.
    """
    known = {allocation.key for allocation in room.state.allocations}
    for key, news in room.seen.allocations.items():
        if key not in known:
            yield CallSweep(key=key, is_over=news.state == "ended")


def follow(room: Room) -> Iterator[RecordAllocation]:
    """What observation and time mean for each allocation."""
    for allocation in room.state.allocations:
        if (record := _follow(room, allocation)) is not None:
            yield record


def _follow(room: Room, allocation: Allocation) -> RecordAllocation | None:
    if room.seen.has_ended(allocation.key):
        news = room.seen.allocations[allocation.key]
        has_move = allocation.status in (S.STARTING, S.UP, S.DRAINING, S.RELEASING)
        return RecordAllocation(allocation=allocation, event=E.FOUND_ENDED, reason=news.reason) if has_move else None
    start_s = room.seen.patience.start_s
    match allocation.status:
        # Earlier or later: the clock may have been set back.
        case S.STARTING if abs(room.now - allocation.changed_at) > timedelta(seconds=start_s):
            words = f"Its runner did not say hello within {start_s:g} s."
            return RecordAllocation(allocation=allocation, event=E.DRAIN_ASKED, reason=words)
        case S.UP if room.seen.silence(allocation.node, room.now) is Silence.FINAL:
            room.use(allocation.node)
            return RecordAllocation(
                allocation=allocation, event=E.DRAIN_ASKED, reason="Its lease is over: not heard for too long."
            )
        case S.DRAINING if not room.state.placed.get(allocation.node):
            return RecordAllocation(allocation=allocation, event=E.RELEASE_ASKED, reason=allocation.reason)
        case _:
            return None


def _target(room: Room, compute: Compute) -> int:
    """How many nodes it should have: those at work, those granted to waiting runs, at least min, at most max."""
    if room.seen.is_draining:
        return 0
    if compute.is_elastic:
        runs_there = any(room.state.placed.get(a.node) for a in room.state.allocations_of[compute.id])
        return 1 if runs_there or room.granted[compute.id] else 0
    there = room.state.allocations_of[compute.id]
    idle = len(room.free.get(compute.id, ()))
    starting = sum(1 for a in there if a.status is not S.UP)
    busy = len(there) - idle - starting
    return min(compute.max_instances, max(compute.min_instances, busy + room.granted[compute.id]))


def shrink(room: Room) -> Iterator[RecordAllocation]:
    """Idle nodes go after their idle time, or at once when somebody else waits for the room.

    Never below what is wanted.
    """
    for compute in room.state.computes:
        there = [a for a in room.state.allocations_of[compute.id] if a.status is S.UP]
        surplus = len(room.state.allocations_of[compute.id]) - _target(room, compute)
        for allocation in sorted(there, key=room.state.idle_since):
            if surplus <= 0:
                break
            if allocation.node in room.used_nodes or not room.state.is_idle(allocation, room.seen):
                continue
            if (reason := _reason_to_go(room, compute, allocation)) is not None:
                surplus -= 1
                room.use(allocation.node)
                yield RecordAllocation(allocation=allocation, event=E.DRAIN_ASKED, reason=reason)


def _reason_to_go(room: Room, compute: Compute, allocation: Allocation) -> str | None:
    if compute.status is not ComputeStatus.SUCCEEDED:
        return "Its compute is being deleted."
    if room.seen.is_draining:
        return "The service is being stopped."
    idle = room.now - room.state.idle_since(allocation)
    if idle >= timedelta(seconds=compute.idle_s):
        return f"Idle for {idle.total_seconds():.0f} s."
    if compute.host in room.pressed and allocation.claim != Amount():
        return "Idle, and others wait for its room."
    return None


def empty(room: Room) -> Iterator[Record]:
    """Computes that are being deleted: their runs are ended, then they are gone."""
    for compute in room.state.computes:
        if compute.status is not ComputeStatus.DELETING:
            continue
        runs = [run for run in room.state.runs if run.compute == compute.id]
        yield from _cancel(runs)
        if not runs and not any(a.compute == compute.id for a in room.state.allocations):
            yield RecordCompute(compute=compute, event=ComputeEvent.EMPTIED)
        for allocation in _unused(room, compute):
            yield RecordAllocation(allocation=allocation, event=E.DRAIN_ASKED, reason="Its compute is being deleted.")


def _cancel(runs: Sequence[Run]) -> Iterator[RecordRun]:
    for run in runs:
        if run.nodes and RunEvent.CANCEL_ASKED in RUN.events(run.status):
            yield RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason="Its compute is being deleted.")


def _unused(room: Room, compute: Compute) -> Iterator[Allocation]:
    """Those that never came up, which `shrink` does not look at."""
    for allocation in room.state.allocations_of[compute.id]:
        if allocation.status is S.STARTING:
            yield allocation
