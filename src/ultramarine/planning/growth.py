"""Which allocations are made: for those that wait, in the order of the queue; then up to each compute's minimum."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ultramarine.domain.allocation import Allocation, AllocationStatus
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.names import AllocationKey, ComputeId
from ultramarine.domain.run import Run
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import AddAllocation
from ultramarine.planning.placement import Room


def grow(room: Room) -> Iterator[AddAllocation]:
    """Never over a compute's maximum, nor a host's room. Fills in what of it is `room.granted`."""
    growth = _Growth.at(room)
    for run in room.line:
        yield from growth.for_run(run)
    for id in list(growth.now_is):
        yield from growth.up_to_minimum(id)


@dataclass(slots=True)
class _Growth:
    """The first that finds no room on a host is the only one there for whom nodes are made or kept.

    Two gangs that each held a part of the room would wait for each other for ever.
    """

    room: Room
    now_is: dict[ComputeId, Compute]  #: as their rows will be
    spare: dict[ComputeId, int]  #: nodes that are there for those that wait: idle, or starting
    made: Counter[ComputeId] = field(default_factory=Counter[ComputeId])
    first_at: dict[str, Run | None] = field(default_factory=dict[str, Run | None])  #: who waits for a host's room

    @classmethod
    def at(cls, room: Room) -> "_Growth":
        there = {compute.id: compute for compute in room.state.computes if compute.status is ComputeStatus.SUCCEEDED}
        return cls(room, there, {id: _spare(room, id) for id in there})

    def for_run(self, run: Run) -> Iterator[AddAllocation]:
        room, compute = self.room, self.now_is[run.compute]
        if (first := self.first_at.get(compute.host)) is not None:
            room.reasons[run.key] = f"Behind {first.owner_name}, which waits for room on this machine."
            return
        if compute.is_elastic and room.free.get(compute.id):
            self.first_at[compute.host] = run  # its node is there, so it is the room that is missing
            room.granted[compute.id] += 1
            return
        missing = min(run.instance_count - self.spare[compute.id], compute.max_instances - self._count(compute.id))
        if missing > 0 and self._rests(compute, run):
            return
        room.granted[compute.id] += run.instance_count
        self.spare[compute.id] = max(0, self.spare[compute.id] - run.instance_count)
        yield from self._add(compute.id, missing, run)

    def up_to_minimum(self, id: ComputeId) -> Iterator[AddAllocation]:
        compute = self.now_is[id]
        missing = compute.min_instances - self._count(id)
        if missing > 0 and compute.host not in self.first_at and not self._rests(compute, None):
            yield from self._add(id, missing, None)

    def _count(self, id: ComputeId) -> int:
        return len(self.room.state.allocations_of[id]) + self.made[id]

    def _add(self, id: ComputeId, count: int, run: Run | None) -> Iterator[AddAllocation]:
        room = self.room
        for _ in range(count):
            compute = self.now_is[id]
            claim = Amount() if compute.is_elastic else compute.size
            if not room.claim(compute.host, claim):
                self.first_at[compute.host] = run
                if run is not None:
                    room.reasons[run.key] = room.full(compute, compute.size)
                return
            self.made[id] += 1
            counted = replace(compute, allocations_made=compute.allocations_made + 1)
            self.now_is[id] = replace(counted, version=counted.version + 1)  # what its row is at for the next one
            yield AddAllocation(allocation=_allocation(room, counted, claim), compute=counted)

    def _rests(self, compute: Compute, run: Run | None) -> bool:
        """Whether its last starts failed so lately that the next one waits; who waits for it is told."""
        resting = self.room.state.resting_until(compute.id, self.room.now)
        if resting is None or self.room.now >= resting[0]:
            return False
        if run is not None:
            self.room.reasons[run.key] = (
                f"Nodes of {compute.name} fail to start: {resting[1]} The next try is at {resting[0]:%H:%M:%S} UTC."
            )
        return True


def _spare(room: Room, id: ComputeId) -> int:
    starting = sum(1 for a in room.state.allocations_of[id] if a.status is not AllocationStatus.UP)
    return len(room.free.get(id, ())) + starting


def _allocation(room: Room, compute: Compute, claim: Amount) -> Allocation:
    return Allocation(
        key=AllocationKey(f"{room.state.epoch}-{compute.id}-{compute.allocations_made}"),
        compute=compute.id,
        workspace=compute.workspace,
        compute_name=compute.name,
        host=compute.host,
        claim=claim,
        capacity=compute.size,
        gpu_ids=room.take_gpus(compute.host, claim.gpus),
        is_elastic=compute.is_elastic,
        created_at=room.now,
        changed_at=room.now,
    )
