"""Which allocations are made, for a run that waits or up to a compute's minimum; which idle ones are called in."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Protocol, Self, TypeVar

from ultramarine.domain.allocation import Allocation, AllocationStatus, key_of
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.run import Run
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning import quotas
from ultramarine.planning.actions import AddAllocation, RecordAllocation
from ultramarine.planning.room import Lane, Room, Slot


def for_run(room: Room, lane: Lane, run: Run, *, missing: int, until: datetime | None) -> Iterator[AddAllocation]:
    """All the nodes that a run misses, or none: a gang that held a part of the room could wait for another's for ever.

    They are given to it. Never over the compute's maximum, the machine's room or the workspace's quota.
    """
    claim = _claim(lane.compute)
    if missing > lane.room_to_grow() or not room.hosts[lane.compute.host].admits(claim * missing, until):
        return
    for _ in range(missing):
        made = _add(room, lane, f"For {run.owner_name}.")
        lane.slots[-1].give(run.need)
        yield made


def up_to_minimum(room: Room) -> Iterator[AddAllocation]:
    for lane in room.lanes.values():
        compute = lane.compute
        if compute.status is not ComputeStatus.SUCCEEDED or resting(room, compute) is not None:
            continue
        for _ in range(compute.min_instances - len(lane.slots)):
            claim = _claim(compute)
            if not room.hosts[compute.host].admits(claim, None) or quotas.exceeded(room, compute, claim, nodes=1):
                break
            yield _add(room, lane, f"Up to min_instances {compute.min_instances}.")


def resting(room: Room, compute: Compute) -> str | None:
    """Why no node of it is started now: its last starts failed, so lately that the next one waits, or all are sick."""
    if (ails := room.hosts[compute.host].ails) != "":
        return f"No node is started on {room.hosts[compute.host].host.words} as long as {ails}"
    found = room.state.resting_until(compute.id, room.now)
    if found is None or room.now >= found[0]:
        return None
    return f"Nodes of {compute.name} fail to start: {found[1]} The next try is at {found[0]:%H:%M:%S} UTC."


class Measure(Protocol):
    """What is short: of a machine (`Amount`) or of a quota (`Usage`)."""

    def beyond(self, other: Self) -> Self: ...


M = TypeVar("M", bound=Measure)


def call_in(
    room: Room, lane: Lane, short: M, *, gives: Callable[[Allocation], M], others: Callable[[Compute], bool]
) -> Iterator[RecordAllocation]:
    """Idle nodes of `others` go at once when somebody waits for what they hold: as many as it takes."""
    for other, slot in _idle(room, lane, others):
        if short.beyond(short) == short:
            return
        rest = short.beyond(gives(slot.allocation))
        if rest == short or len(other.slots) <= other.compute.min_instances:
            continue
        short = rest
        other.remove(slot)
        room.gives_back(slot.allocation, slot.allocation.claim)
        yield room.drain(slot.allocation, "Idle, and others wait for its room.")


def _idle(room: Room, but: Lane, others: Callable[[Compute], bool]) -> list[tuple[Lane, Slot]]:
    """The longest idle first."""
    found = [
        (room.state.idle_since(slot.allocation), slot.key, lane, slot)
        for lane in room.lanes.values()
        if lane is not but and not lane.compute.is_elastic and others(lane.compute)
        for slot in lane.slots
        if slot.is_ready and slot.is_empty and slot.reserved is None
    ]
    return [(lane, slot) for _, _, lane, slot in sorted(found, key=lambda each: each[:2])]


def _claim(compute: Compute) -> Amount:
    return NOTHING if compute.is_elastic else compute.size


def _add(room: Room, lane: Lane, reason: str) -> AddAllocation:
    """The row of one more node. `lane.compute` becomes what its own row will be at for the next one."""
    compute = lane.compute
    counted = replace(compute, allocations_made=compute.allocations_made + 1)
    lane.compute = replace(counted, version=counted.version + 1)
    claim = _claim(compute)
    allocation = Allocation(
        key=key_of(room.state.epoch, compute.id, counted.allocations_made),
        compute=compute.id,
        workspace=compute.workspace,
        compute_name=compute.name,
        host=compute.host,
        claim=claim,
        capacity=compute.size,
        gpu_ids=room.claim(compute.host, claim) if claim != NOTHING else (),
        is_elastic=compute.is_elastic,
        reason=reason,
        created_at=room.now,
        changed_at=room.now,
    )
    assert allocation.status is AllocationStatus.WANTED
    quotas.count(room, compute, claim, nodes=1)
    lane.add(Slot(allocation=allocation, free=allocation.capacity, is_starting=True))
    return AddAllocation(allocation=allocation, compute=counted)
