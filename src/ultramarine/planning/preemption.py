"""Which spot runs give way to one that waits and is none itself: as few as it takes, the newest first, or none at all.

A run that gives way is asked to end (SIGTERM, grace, SIGKILL), keeps its checkpoint folder and is queued again.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ultramarine.domain.run import Cause, Ending, Run, RunEvent, RunStatus
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.room import HostRoom, Lane, Room, Slot

CAN_GIVE_WAY = frozenset({RunStatus.PREPARING, RunStatus.RUNNING})
Seat = tuple[Slot, datetime | None]


def plan(room: Room, lane: Lane, run: Run, *, seats: Sequence[Seat], short: Amount) -> Iterator[RecordRun]:
    """`seats`: the nodes that it waits for, and when they are free; `short`: what is missing of its machine."""
    if run.tier.gives_way:
        return
    victims = _from_nodes(room, lane, run, _late(room, seats))
    if victims is None or (rest := _from_host(room, lane, short, victims)) is None:
        return
    for victim in [*victims, *rest]:
        words = f"Gave way to {run.owner_name}."
        yield RecordRun(
            run=victim,
            event=RunEvent.PREEMPTED,
            reason=f"Gives way to {run.owner_name}, which is not of tier spot.",
            changes={"ending": Ending(cause=Cause.PREEMPTED, words=words)},
        )


def _late(room: Room, seats: Sequence[Seat]) -> list[Slot]:
    """Those that are not about to be free by themselves."""
    soon = room.now + timedelta(seconds=room.seen.patience.grace_s)
    return [slot for slot, at in seats if not slot.is_starting and (at is None or at > soon)]


def _victims_on(slot: Slot) -> list[Run]:
    """The newest first."""
    found = [
        run for run in slot.holders if run.tier.gives_way and run.status in CAN_GIVE_WAY and not run.is_being_stopped
    ]
    return sorted(found, key=lambda run: (run.changed_at, run.key), reverse=True)


def _from_nodes(room: Room, lane: Lane, run: Run, late: Sequence[Slot]) -> list[Run] | None:
    """Who makes room on as many nodes as are late; None where they cannot."""
    if not late:
        return []
    found = [
        chosen for slot in lane.slots if slot.is_ready and not slot.is_given and (chosen := _enough_on(slot, run.need))
    ]
    if len(found) < len(late):
        return None
    found.sort(key=_least)
    return list({each.key: each for chosen in found[: len(late)] for each in chosen}.values())


def _least(chosen: Sequence[Run]) -> tuple[object, ...]:
    """What is lost when these give way: the fewest nodes, then those that have run for the shortest time."""
    oldest = min(run.changed_at for run in chosen)
    return (sum(run.instance_count for run in chosen), -oldest.timestamp(), chosen[0].key)


def _enough_on(slot: Slot, need: Amount | None) -> list[Run]:
    """The fewest of a node's spot runs after which it has room; empty where they are not enough."""
    wanted, free = need or slot.allocation.capacity, slot.free
    for run in slot.holders:
        if run.is_being_stopped:
            free += run.need or slot.allocation.capacity
    chosen: list[Run] = []
    for run in _victims_on(slot):
        if wanted.fits_in(free):
            break
        free += run.need or slot.allocation.capacity
        chosen.append(run)
    return chosen if wanted.fits_in(free) else []


def _from_host(room: Room, lane: Lane, short: Amount, before: Sequence[Run]) -> list[Run] | None:
    """Who makes room on the machine for what is still `short`; None where all together would not do."""
    taken = {run.key for run in before}
    found: list[Run] = []
    for run, gives in _offers(room, room.hosts[lane.compute.host]):
        if short == NOTHING:
            break
        if run.key in taken or short.beyond(gives) == short:
            continue
        short = short.beyond(gives)
        found.append(run)
    return found if short == NOTHING else None


def _offers(room: Room, host: HostRoom) -> list[tuple[Run, Amount]]:
    """What a machine gets back when a spot run ends, the newest run first. A node comes back only as a whole."""
    found: list[tuple[Run, Amount]] = []
    for lane in room.lanes.values():
        for slot in lane.slots if lane.compute.host == host.host.name else ():
            victims = _victims_on(slot)
            if slot.allocation.is_elastic:
                found += [(run, run.need or NOTHING) for run in victims]
            elif len(victims) == 1 == len(slot.holders):
                found.append((victims[0], slot.allocation.claim))
    return sorted(found, key=lambda each: (each[0].changed_at, each[0].key), reverse=True)
