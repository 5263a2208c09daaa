"""When what is taken will be free again, as far as time limits tell."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ultramarine.domain.run import Run
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning.room import HostRoom, Room, Slot

PREPARE_S = 60.0  #: between being placed and the start of a run's time limit, mostly
Release = tuple[datetime | None, Amount]  #: what is given back, and when at the latest


def end_of(run: Run, room: Room) -> datetime | None:
    """When it has ended at the latest, a queued one if it were placed now; None where it has no `limits.timeout`."""
    grace = timedelta(seconds=room.seen.patience.grace_s)
    if run.is_being_stopped:
        return room.now + grace
    if run.timeout_s is None:
        return None
    limit = timedelta(seconds=run.timeout_s) + grace
    if run.started_at is not None:
        return max(room.now, run.started_at + limit)
    return room.now + timedelta(seconds=PREPARE_S) + limit


def earliest(wanted: Amount, *, free: Amount, releases: Iterable[Release], now: datetime) -> datetime | None:
    """When `wanted` is free, of what is free now and given back later. None: nobody knows."""
    if wanted.fits_in(free):
        return now
    known = sorted((at, index, amount) for index, (at, amount) in enumerate(releases) if at is not None)
    for at, _, amount in known:
        free += amount
        if wanted.fits_in(free):
            return at
    return None


def latest(ends: Sequence[datetime | None]) -> datetime | None:
    """When all of them are over. None: nobody knows."""
    known = [at for at in ends if at is not None]
    return max(known) if known and len(known) == len(ends) else None


def free_at(slot: Slot, need: Amount | None, room: Room) -> datetime | None:
    """When a node takes `need`."""
    if not slot.is_ready:
        return None
    capacity = slot.allocation.capacity
    releases = [(end_of(run, room), run.need or capacity) for run in slot.holders]
    return earliest(need or capacity, free=slot.free, releases=releases, now=room.now)


def host_releases(host: HostRoom, room: Room) -> Sequence[Release]:
    """What a machine gets back: its idle nodes at once when they are called in, others when their runs have ended."""
    found: list[Release] = [(room.now, host.coming)]
    for lane in room.lanes.values():
        for slot in lane.slots if lane.compute.host == host.host.name else ():
            running = [run for run in slot.holders if not run.is_being_stopped]
            if slot.allocation.is_elastic:
                found += [(end_of(run, room), run.need or NOTHING) for run in running]
            elif running:
                found.append((latest([end_of(run, room) for run in running]), slot.allocation.claim))
    return found
