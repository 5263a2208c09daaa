"""Why a compute's nodes are kept, added or removed, after a turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ultramarine.domain.allocation import Allocation, AllocationStatus
from ultramarine.domain.names import AllocationKey, ComputeId
from ultramarine.domain.run import Run
from ultramarine.planning import reasons
from ultramarine.planning.room import Lane, Room, Slot

S = AllocationStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWhy:
    """What becomes of one allocation, and why."""

    key: AllocationKey
    status: AllocationStatus
    runs: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeWhy:
    """A compute after a turn's decisions."""

    min_instances: int
    max_instances: int
    nodes: Sequence[NodeWhy]
    waiting: int
    first: str | None  #: the job that waits at the head of it
    first_words: str
    resting: str | None  #: why no node is started for now


def of_compute(room: Room, id: ComputeId, *, resting: str | None) -> ComputeWhy:
    """To be called when `room` has been through a turn."""
    lane = room.lanes[id]
    queued = [run for run in room.state.queued if run.compute == id]
    first = lane.first or next(iter(queued), None)
    said = room.reasons.get(first.key) if first is not None else None
    return ComputeWhy(
        min_instances=lane.compute.min_instances,
        max_instances=lane.compute.max_instances,
        nodes=tuple(_nodes(room, lane)),
        waiting=len(queued),
        first=None if first is None else first.owner_name,
        first_words="" if said is None else said.words,
        resting=resting,
    )


def _nodes(room: Room, lane: Lane) -> Iterator[NodeWhy]:
    slots = {slot.allocation.key: slot for slot in lane.slots}
    there = [a for a in room.state.allocations if a.compute == lane.compute.id]
    made = [slot.allocation for slot in lane.slots if all(slot.allocation.key != a.key for a in there)]
    for allocation in [*there, *made]:
        slot = slots.get(allocation.key)
        holders = room.state.placed.get(allocation.node, ())
        words = _leaving(room, allocation) if slot is None else _staying(room, lane, slot)
        names = tuple(run.owner_name for run in holders)
        yield NodeWhy(key=allocation.key, status=allocation.status, runs=names, words=words)


def _leaving(room: Room, allocation: Allocation) -> str:
    drained = room.drained.get(allocation.key)
    return f"Removed: {drained or allocation.reason or 'it is not wanted any more.'}"


def _staying(room: Room, lane: Lane, slot: Slot) -> str:
    if slot.is_starting:
        return f"Starting. {slot.allocation.reason}{reasons.at_target(room, [slot])}".strip()
    if slot.holders:
        return f"Kept: {_busy(slot.holders)}."
    if slot.is_given:
        return "Kept: it has just got work."
    if slot.reserved is not None:
        return f"Kept: held for {slot.reserved.run.owner_name}, the first that waits."
    if not slot.is_ready and (ails := room.seen.ails(slot.key)):
        return f"Kept, but it takes no work: {ails}"
    if not slot.is_ready:
        return "Kept for now: its runner is not heard, or something that has ended still leaves it."
    return _idle(room, lane, slot)


def _busy(holders: Sequence[Run]) -> str:
    names = [run.owner_name for run in holders]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"busy with {', '.join(names[:3])}{more}"


def _idle(room: Room, lane: Lane, slot: Slot) -> str:
    compute = lane.compute
    idle = room.now - room.state.idle_since(slot.allocation)
    if len(lane.slots) <= compute.min_instances:
        return f"Kept: idle, and min_instances is {compute.min_instances}."
    left = timedelta(seconds=compute.idle_s) - idle
    return (
        f"Kept: idle for {idle.total_seconds():.0f} s; removed in {max(0.0, left.total_seconds()):.0f} s "
        f"(idle_time_before_scale_down is {compute.idle_s:g} s)."
    )
