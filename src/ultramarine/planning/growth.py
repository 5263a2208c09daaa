"""Which allocations are made, for a run that waits or up to a compute's minimum; which idle ones are called in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, Self, TypeVar

from ultramarine.domain.allocation import Allocation, AllocationStatus, key_of
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.run import Run
from ultramarine.domain.size import NOTHING
from ultramarine.planning import quotas
from ultramarine.planning.actions import AddAllocation, RecordAllocation
from ultramarine.planning.room import Lane, Room, Slot

HOLDS = 10  #: times that a node may take to start: so long a gang keeps what it has of a target without room for all


def for_run(room: Room, lane: Lane, run: Run, *, missing: int, until: datetime | None) -> Iterator[AddAllocation]:
    """All the nodes that a run misses, or none: a gang that held a part of the room could wait for another's for ever.

    They are given to it. Never over the compute's maximum, the machine's room or the workspace's quota.
    """
    claim = lane.compute.claim
    if missing > lane.room_to_grow() or not room.hosts[lane.compute.host].admits(claim * missing, until):
        return
    for _ in range(missing):
        made = _add(room, lane, f"For {run.owner_name}.")
        lane.slots[-1].give(run)
        yield made


def give_back(room: Room, lane: Lane, run: Run, *, found: Sequence[Slot]) -> Iterator[RecordAllocation]:
    """The nodes of a gang whose others wait at a target that has no room for them, since somebody else could begin.

    How much room there is only the target knows: two gangs that each have a half could wait for ever. Of those that
    wait for longer than a node takes to start, the first in the queue keeps what it has, so that it comes to have all;
    for `HOLDS` times as long, as what it asks for may never come. Who gave back asks again after a rest.
    """
    host, seen = room.hosts[lane.compute.host], room.seen
    asked_at = [slot.allocation.created_at for slot in found if seen.pending(slot.allocation.key) is not None]
    start = timedelta(seconds=seen.patience.start_s)
    if host.host.is_bounded or run.instance_count == 1 or room.now - min(asked_at, default=room.now) <= start:
        return
    if host.first is None and room.now - min(asked_at) <= HOLDS * start:
        host.first = run
        return
    why = "others may begin meanwhile" if host.first is None else f"{host.first.owner_name} waits there before it"
    words = f"Given back: {host.host.name} has no room for all nodes of {run.owner_name}, and {why}."
    for slot in found:
        if len(lane.slots) > lane.compute.min_instances and room.state.is_idle(slot.allocation, seen):
            lane.remove(slot)
            yield room.drain(slot.allocation, words)


def stands_back(room: Room, lane: Lane, run: Run) -> str | None:
    """Why a gang asks a target for nothing now: another, which is before it, waits there for all of its nodes.

    Nodes asked for in the moment in which it has given back its own would take the room from under that one again.
    """
    host = room.hosts[lane.compute.host]
    if host.host.is_bounded or run.instance_count == 1 or host.first is None or host.first is run:
        return None
    return f"Behind {host.first.owner_name}, which waits for room on {host.host.words}."


def up_to_minimum(room: Room) -> Iterator[AddAllocation]:
    for lane in room.lanes.values():
        compute = lane.compute
        if compute.status is not ComputeStatus.SUCCEEDED or resting(room, compute) is not None:
            continue
        for _ in range(compute.min_instances - len(lane.slots)):
            claim = compute.claim
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
    nothing = short.beyond(short)
    for other, slot in _idle(room, lane, others) if short != nothing else ():
        rest = short.beyond(gives(slot.allocation))
        if rest == short or len(other.slots) <= other.compute.min_instances:
            continue
        short = rest
        other.remove(slot)
        room.gives_back(slot.allocation, slot.allocation.claim)
        yield room.drain(slot.allocation, "Idle, and others wait for its room.")
        if short == nothing:
            return


def _idle(room: Room, but: Lane, others: Callable[[Compute], bool]) -> list[tuple[Lane, Slot]]:
    """The longest idle first."""
    found = [
        (room.state.idle_since(slot.allocation), slot.key, lane, slot)
        for lane in room.lanes.values()
        if lane is not but and not lane.compute.is_elastic and others(lane.compute)
        for slot in lane.open  # one that is full is not idle, and most are full where somebody waits
        if slot.is_ready and slot.is_empty and slot.reserved is None
    ]
    return [(lane, slot) for _, _, lane, slot in sorted(found, key=lambda each: each[:2])]


def _add(room: Room, lane: Lane, reason: str) -> AddAllocation:
    """The row of one more node. `lane.compute` becomes what its own row will be at for the next one."""
    compute = lane.compute
    counted = replace(compute, allocations_made=compute.allocations_made + 1)
    lane.compute = replace(counted, version=counted.version + 1)
    claim = compute.claim
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
