"""Through the queue, once, in its order: each run is placed, or nodes are made for it, or it waits and says for what.

Gangs get all their nodes or none. The first that waits at a compute, and the first that waits for room on a machine,
reserve what they need (`room.Reservation`): those behind may take what is left over, or what they give back in time.
So small runs pass a large one without delaying it, and no stream of small ones starves it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.environment import EnvironmentStatus
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import Cause, Ending, Master, Run, RunEvent
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning import growth, preemption, quotas, reasons, times
from ultramarine.planning.actions import Record, RecordRun, Why
from ultramarine.planning.queue import in_order
from ultramarine.planning.room import Lane, Reservation, Room, Shape, Slot
from ultramarine.planning.state import Need

_shape: Callable[[Run], Shape] = attrgetter("need", "instance_count", "timeout_s")


def place(room: Room) -> Iterator[Record]:
    lanes, environments, said = room.lanes, room.state.environments, room.reasons
    for run in in_order(room.state):
        lane, need = lanes.get(run.compute), environments.get(run.key)
        if lane is not None and need is None and (why := lane.refused.get(_shape(run))) is not None:
            said[run.key] = why  # most of a long queue: the same was asked before, and was possible
        elif (never := _impossible(run, need, None if lane is None else lane.compute)) is not None:
            yield never
        elif need is not None:
            look = f"How far it is: um environment show -n {need.name.partition(':')[0]}"
            room.says(run, f"Environment {need.name} is being resolved.", look)
        elif lane is not None:
            yield from _seat(room, lane, run)


def _impossible(run: Run, need: Need | None, compute: Compute | None) -> RecordRun | None:
    if compute is None or compute.status is not ComputeStatus.SUCCEEDED:
        words = "Its compute was deleted."
    elif run.instance_count > compute.max_instances:
        words = (
            f"It needs {run.instance_count} nodes, and {compute.name} has max_instances {compute.max_instances} now."
        )
    elif need is not None and need.status is EnvironmentStatus.FAILED:
        words = f"Environment {need.name}: {need.reason}"
    else:
        return None
    cause = Cause.ENVIRONMENT if words.startswith("Environment") else Cause.IMPOSSIBLE
    return RecordRun(
        run=run, event=RunEvent.IMPOSSIBLE, reason=words, changes={"ending": Ending(cause=cause, words=words)}
    )


def _seat(room: Room, lane: Lane, run: Run) -> Iterator[Record]:
    """One run: placed, or with nodes on their way, or waiting."""
    until = times.end_of(run, room)
    found = lane.free_for(run, until, wants=room.state.wants.get(run.key, ""))
    missing = run.instance_count - len(found)
    if (over := _over_quota(room, lane, run, missing)) is not None:
        room.says(run, over, f"An owner can raise the quota: um workspace update -n {run.workspace} --set quota.…")
        yield from _free_quota(room, lane, run, missing)
        return
    if missing and (resting := growth.resting(room, lane.compute)) is not None:
        room.says(run, resting, f"What was tried: um compute explain -n {lane.compute.name}")
        return
    if missing == 0 and all(slot.is_ready for slot in found) and (placed := _placed(room, lane, run, found)):
        yield placed
        return
    if given_back := list(growth.give_back(room, lane, run, found=found)):
        yield from given_back
        room.says(run, given_back[0].reason, "It asks again after a rest.")
        return
    if missing and (back := growth.stands_back(room, lane, run)) is not None:
        room.says(run, back, "It asks for its nodes when that one has begun.")
        return
    made = list(growth.for_run(room, lane, run, missing=missing, until=until))
    yield from made
    starting = len(made) + sum(not slot.is_ready for slot in found)
    if len(made) == missing and starting:
        for slot in found:
            slot.give(run)
        words = reasons.starting(lane.compute, starting) + reasons.at_target(room, found)
        room.says(run, words, "It starts when they are up.")
        return
    yield from _wait(room, lane, run, found)


def _more(lane: Lane, run: Run, missing: int) -> tuple[Amount, int]:
    """What more would be held for it: of the machine itself, or in so many new nodes."""
    if lane.compute.is_elastic:
        return run.need or lane.compute.size, 0
    return lane.compute.claim * missing, missing


def _over_quota(room: Room, lane: Lane, run: Run, missing: int) -> str | None:
    claim, nodes = _more(lane, run, missing)
    return quotas.exceeded(room, lane.compute, claim, nodes=nodes, run=run)


def _free_quota(room: Room, lane: Lane, run: Run, missing: int) -> Iterator[Record]:
    """The first that waits for a quota has idle nodes of its workspace called in."""
    if room.over_quota[lane.compute.workspace] is not run:
        return
    claim, nodes = _more(lane, run, missing)
    short = quotas.short(room, lane.compute, claim, nodes=nodes)
    workspace = lane.compute.workspace
    yield from growth.call_in(room, lane, short, gives=_usage_of, others=lambda c: c.workspace == workspace)


def _usage_of(node: Allocation) -> Usage:
    return Usage.of(node.claim, nodes=1)


def _placed(room: Room, lane: Lane, run: Run, slots: Sequence[Slot]) -> RecordRun | None:
    """None where the machine under an elastic node has no room for it."""
    gpus: dict[str, tuple[str, ...]] = {}
    if lane.compute.is_elastic:
        need = run.need or lane.compute.size
        if not room.hosts[lane.compute.host].admits(need, times.end_of(run, room)):
            return None
        gpus = {slots[0].key: room.claim(lane.compute.host, need)}
        quotas.count(room, lane.compute, need, nodes=0)
    elif run.need is not None:
        gpus = {slot.key: slot.gpus_for(run.need) for slot in slots}
    room.use(slot.key for slot in slots)
    for slot in slots:
        slot.give(run)
    where = f"node {slots[0].key}" if len(slots) == 1 else f"{len(slots)} nodes of {lane.compute.name}"
    changes = {"nodes": tuple(slot.key for slot in slots), "gpu_ids": gpus}
    alone = {"master": Master(address="127.0.0.1", port=0)} if len(slots) == 1 else {}
    return RecordRun(run=run, event=RunEvent.PLACED, reason=f"Placed on {where}.", changes=changes | alone)


# Waiting


def _wait(room: Room, lane: Lane, run: Run, found: Sequence[Slot]) -> Iterator[Record]:
    """The first that waits reserves what it needs; idle nodes are called in for it, and spot runs give way to it."""
    compute, host = lane.compute, room.hosts[lane.compute.host]
    if lane.first is not None:
        # Its place is not said here: it changes with every start, and would be written to every row behind.
        passing = reasons.behind(room, lane.first, reasons.end_of_wait(lane))
        why = Why(words=f"In the queue of {compute.name}, behind others.", unblocks=passing)
        room.reasons[run.key] = lane.refused[_shape(run)] = why
        return
    if (never := reasons.never(room, run, host=host, compute=compute)) is not None:
        room.says(run, *never)
        return
    lane.first = run
    for slot in found if compute.is_elastic else ():
        slot.is_given = True  # its node is there: it is the room that is missing
    grown = 0 if compute.is_elastic else min(run.instance_count - len(found), lane.room_to_grow())
    claim = (run.need or compute.size) if compute.is_elastic else compute.claim * grown
    if not host.host.is_bounded:
        claim = NOTHING  # its room is not what is short
    if claim != NOTHING and host.reserved is not None:
        _reserve(run, [(slot, None) for slot in found], at=None)
        words = f"Behind {host.reserved.run.owner_name}, which waits for room on {host.host.words}."
        room.says(run, words, reasons.behind(room, host.reserved.run, host.reserved.at))
        return
    yield from _press(room, lane, run, found, claim=claim, grown=grown)


def _press(room: Room, lane: Lane, run: Run, found: Sequence[Slot], *, claim: Amount, grown: int) -> Iterator[Record]:
    """Have it made room for, and hold what there is for it."""
    host = room.hosts[lane.compute.host]
    short = claim.beyond(host.free + host.coming)
    called = list(growth.call_in(room, lane, short, gives=_claim_of, others=lambda c: c.host == host.host.name))
    yield from called
    short = short.beyond(sum((record.allocation.claim for record in called), NOTHING))
    seats = _seats(room, lane, run, count=run.instance_count - grown)
    given_way = list(preemption.plan(room, lane, run, seats=seats, short=short))
    yield from given_way
    ends = [at for _, at in seats]
    if claim != NOTHING:
        ends.append(times.earliest(claim, free=host.free, releases=times.host_releases(host, room), now=room.now))
    at = times.latest(ends)
    if claim != NOTHING:
        host.reserved = Reservation(run=run, amount=claim, at=at)
    _reserve(run, seats, at=at)
    words = reasons.of_first(room, lane, run, found=found, claim=claim, gave_way=len(given_way))
    room.says(run, words, reasons.soonest(lane, run, at=at, now=room.now))


def _claim_of(allocation: Allocation) -> Amount:
    return allocation.claim


def _seats(room: Room, lane: Lane, run: Run, *, count: int) -> list[tuple[Slot, datetime | None]]:
    """The nodes that it waits for: those that are free for it or start, then those that are so the soonest."""
    if lane.compute.is_elastic:
        return []
    known = [(slot, times.free_at(slot, run.need, room)) for slot in lane.slots if not slot.is_given]
    known.sort(key=lambda each: (each[1] is None and not each[0].is_starting, each[1] or room.now, each[0].key))
    return known[:count]


def _reserve(run: Run, seats: Sequence[tuple[Slot, datetime | None]], *, at: datetime | None) -> None:
    for slot, _ in seats:
        slot.reserved = Reservation(run=run, amount=run.need or slot.allocation.capacity, at=at)
