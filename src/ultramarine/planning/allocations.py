"""Which allocations are drained, released, forgotten. Which ones are made is in `growth.py`."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from ultramarine.domain.allocation import Allocation, AllocationEvent, AllocationStatus
from ultramarine.domain.compute import Compute, ComputeEvent, ComputeStatus
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import is_of
from ultramarine.domain.run import RUN, Run, RunEvent
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
from ultramarine.planning.room import Lane, Room, Slot
from ultramarine.planning.seen import Silence

S, E = AllocationStatus, AllocationEvent
REACHED = "Nodes on other machines reach the installation where um up --listen says."


def effects(room: Room) -> Iterator[Effect]:
    """What drivers are to be asked. Asking again is harmless, so nothing remembers that it was asked."""
    for allocation in room.state.allocations:
        if not room.seen.may_ask(allocation.key, room.now):
            continue
        match allocation.status:
            case _ if not is_of(allocation.key, room.state.epoch):
                pass  # what there is of it is swept
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
    """Observed, but of no row of this epoch.

    It was started by a server that was cut off from the store meanwhile, or before a backup was restored. Rows are
    written before anything is started, and were read after this observation: so nothing new can be among them.
    """
    known = {a.key for a in room.state.allocations if is_of(a.key, room.state.epoch)}
    for key, news in room.seen.allocations.items():
        if key not in known and room.seen.may_ask(key, room.now):
            yield CallSweep(key=key, is_over=news.state == "ended")


def follow(room: Room) -> Iterator[RecordAllocation]:
    """What observation and time mean for each allocation."""
    for allocation in room.state.allocations:
        if (record := _follow(room, allocation)) is not None:
            yield record


def _follow(room: Room, allocation: Allocation) -> RecordAllocation | None:
    if not is_of(allocation.key, room.state.epoch):
        return _of_before(room, allocation)
    if room.seen.has_ended(allocation.key):
        news = room.seen.allocations[allocation.key]
        has_move = allocation.status in (S.STARTING, S.UP, S.DRAINING, S.RELEASING)
        return RecordAllocation(allocation=allocation, event=E.FOUND_ENDED, reason=news.reason) if has_move else None
    start_s = room.seen.patience.start_s
    match allocation.status:
        # Earlier or later: the clock may have been set back. What waits at its target is not late.
        case S.STARTING if abs(room.now - _asked_at(room, allocation)) > timedelta(seconds=start_s):
            words = f"Its runner did not say hello within {start_s:g} s."
            elsewhere = "" if room.hosts[allocation.host].host.pool == THIS_MACHINE else f" {REACHED}"
            return room.drain(allocation, words + elsewhere)
        case S.UP:
            return _leave(room, allocation)
        case S.DRAINING if not room.state.placed.get(allocation.node):
            return RecordAllocation(allocation=allocation, event=E.RELEASE_ASKED, reason=allocation.reason)
        case _:
            return None


def _leave(room: Room, allocation: Allocation) -> RecordAllocation | None:
    """A node that is lost or sick is replaced. (Of this machine's nodes any other would have the same disk.)"""
    silence = room.seen.silence(allocation.node, room.now)
    if silence is Silence.FINAL:
        return room.drain(allocation, "Its lease is over: not heard for too long.")
    if silence is Silence.NEW and room.state.is_idle(allocation, room.seen):
        return room.drain(allocation, "Nothing runs on it, and it is not heard any more.")
    ails = room.seen.ails(allocation.node)
    if ails and not room.hosts[allocation.host].host.is_bounded:
        return room.drain(allocation, ails, event=E.FOUND_SICK)
    return None


def _of_before(room: Room, allocation: Allocation) -> RecordAllocation | None:
    """One of before the restore holds its room as long as the driver sees it alive; it is swept meanwhile.

    One that the driver does not see is no loss: no work is judged by it, and if it is seen later it is swept as well.
    """
    news = room.seen.allocations.get(allocation.key)
    if allocation.status is S.ENDED:
        return RecordAllocation(allocation=allocation, event=E.CLEANED_UP)
    if news is not None and news.state != "ended":
        return None
    words = "It is of before the installation was restored from a backup."
    return RecordAllocation(allocation=allocation, event=E.FOUND_ENDED, reason=words)


def _asked_at(room: Room, allocation: Allocation) -> datetime:
    """Since when its runner could have said hello.

    A target that does not answer may still be waiting for machines, but not where it has said that it has them: else
    one that fails now and then would keep a node starting for ever that will never come.
    """
    seen, key = room.seen, allocation.key
    known = (allocation.changed_at, seen.pending_at.get(key), seen.given_at.get(key, seen.unanswered_at))
    return max(at for at in known if at is not None)


def come_down(room: Room) -> Iterator[RecordAllocation]:
    """Idle nodes over a lowered maximum go before anything is placed: a long queue would keep them for ever."""
    for lane in room.lanes.values():
        most = lane.compute.max_instances
        words = f"{lane.compute.name} has max_instances {most} now."
        reason = f"Idle, and {words}"
        yield from _remove(room, lane, len(lane.slots) - most, why=lambda _, reason=reason: reason)
        if lane.compute.holds_replicas:
            yield from _clear(room, lane, len(lane.slots) - most, words)


def _clear(room: Room, lane: Lane, surplus: int, reason: str) -> Iterator[RecordAllocation]:
    """Replicas do not end by themselves: nodes with the fewest get no more, and lose theirs to the others."""
    by_load = sorted(lane.slots, key=lambda slot: (slot.is_ready, len(slot.holders), slot.key))
    for slot in by_load[: max(0, surplus)]:
        lane.remove(slot)
        yield room.drain(slot.allocation, reason)


def shrink(room: Room) -> Iterator[RecordAllocation]:
    """Idle nodes go after their idle time. Never below the minimum.

    Who waits for a node's room has called it in before.
    """
    for lane in room.lanes.values():
        surplus = len(lane.slots) - (0 if room.seen.is_draining else lane.compute.min_instances)
        yield from _remove(room, lane, surplus, why=partial(_reason_to_go, room, lane.compute))


def _remove(
    room: Room, lane: Lane, surplus: int, *, why: Callable[[Allocation], str | None]
) -> Iterator[RecordAllocation]:
    """At most `surplus` idle nodes, the longest idle first: those for which there is a reason."""
    for slot in sorted(lane.slots, key=lambda slot: room.state.idle_since(slot.allocation)) if surplus > 0 else ():
        if surplus <= 0:
            break
        if _is_idle(room, slot) and (reason := why(slot.allocation)) is not None:
            surplus -= 1
            lane.remove(slot)
            yield room.drain(slot.allocation, reason)


def _is_idle(room: Room, slot: Slot) -> bool:
    """Nothing is on it, and nobody in the queue counts on it."""
    if not _can_be_idle(room, slot.allocation) or not slot.is_empty or slot.reserved is not None:
        return False
    return room.state.is_idle(slot.allocation, room.seen)


def _can_be_idle(room: Room, allocation: Allocation) -> bool:
    """One that is on its way is left alone, unless its target makes it wait or does not give it."""
    match allocation.status:
        case S.UP:
            return True
        case S.STARTING:
            return room.seen.pending(allocation.key) is not None
        case _:
            return allocation.key in room.seen.refusals


def _reason_to_go(room: Room, compute: Compute, allocation: Allocation) -> str | None:
    if compute.status is not ComputeStatus.SUCCEEDED:
        return "Its compute is being deleted."
    if room.seen.is_draining:
        return "The service is being stopped."
    if compute.is_instance and allocation.capacity != compute.size:
        return f"{compute.name} has size {compute.size_name} now."
    idle = room.now - room.state.idle_since(allocation)
    return f"Idle for {idle.total_seconds():.0f} s." if idle >= timedelta(seconds=compute.idle_s) else None


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
            yield room.drain(allocation, "Its compute is being deleted.")


def _cancel(runs: Sequence[Run]) -> Iterator[RecordRun]:
    for run in runs:
        if run.nodes and RunEvent.CANCEL_ASKED in RUN.events(run.status):
            yield RecordRun(run=run, event=RunEvent.CANCEL_ASKED, reason="Its compute is being deleted.")


def _unused(room: Room, compute: Compute) -> Iterator[Allocation]:
    """Those that never came up, which `shrink` does not look at."""
    for allocation in room.state.allocations_of[compute.id]:
        if allocation.status is S.STARTING:
            yield allocation
