"""Why runs wait and what would let them start, in words."""

from collections.abc import Sequence
from datetime import datetime

from ultramarine.domain.compute import Compute
from ultramarine.domain.run import Run
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning import times
from ultramarine.planning.room import HostRoom, Lane, Room, Slot


def starting(compute: Compute, count: int) -> str:
    if compute.is_elastic:
        return f"The runner of {compute.name} is starting."
    return f"{count} node{'s' * (count > 1)} of {compute.name} {'are' if count > 1 else 'is'} starting."


def at_target(room: Room, slots: Sequence[Slot]) -> str:
    """What their target says of those that are not up: that it does not give them, or why they wait there."""
    if words := refused(room, slots):
        return words
    news = (room.seen.pending(slot.allocation.key) for slot in slots if slot.is_starting)
    return next((f" {each.reason}" for each in news if each is not None and each.reason), "")


def refused(room: Room, slots: Sequence[Slot]) -> str:
    """What their target says where it does not give one of them, in its own words; else nothing."""
    said = [room.seen.refusals[slot.allocation.key] for slot in slots if slot.allocation.key in room.seen.refusals]
    if not said:
        return ""
    last = max(said, key=lambda refusal: refusal.at)
    times = "once" if last.times == 1 else f"{last.times} times"
    return f" Asked {times} in vain, again at {last.again_at:%H:%M:%S} UTC: {last.words}"


def never(room: Room, run: Run, *, host: HostRoom, compute: Compute) -> tuple[str, str] | None:
    """Why no end of any job would make room for it: who cannot start must not hold up those who can."""
    claim = (run.need or compute.size) if compute.is_elastic else compute.claim * run.instance_count
    if not claim.fits_in(host.host.total):
        had = f"{host.host.words} has {host.host.total}: it can never start here."
        return f"Needs {claim} at once, and {had}", "Ask for fewer or smaller nodes."
    kept = room.kept(host, compute)
    if claim.fits_in(host.host.total.beyond(kept)):
        return None
    by = "deployments and other clusters' min_instances"
    words = f"Needs {claim} at once, and of {host.host.words}'s {host.host.total} {by} keep {kept}."
    return words, "It starts when they are fewer: um compute update --min-instances 0, um online-deployment delete."


def behind(room: Room, first: Run, at: datetime | None) -> str:
    """How a run could start before the first in line."""
    if at is None:
        return f"It starts after {first.owner_name}, the first in line: um job explain -n {first.owner_name}"
    most_s = (at - room.now).total_seconds() - times.PREPARE_S - room.seen.patience.grace_s
    if most_s < 1:
        return f"{first.owner_name}, the first in line, starts within {(at - room.now).total_seconds():.0f} s."
    return (
        f"{first.owner_name} is the first in line and starts by {at:%H:%M:%S} UTC at the latest. "
        f"With limits.timeout of {most_s:.0f} or less it could start before it."
    )


def end_of_wait(lane: Lane) -> datetime | None:
    return next((slot.reserved.at for slot in lane.slots if slot.reserved is not None), None)


def soonest(lane: Lane, run: Run, *, at: datetime | None, now: datetime) -> str:
    """When it starts, or what else would let it."""
    if at is not None and at > now:
        return f"It starts by {at:%H:%M:%S} UTC at the latest, as the time limits of those before it say."
    if not lane.compute.is_elastic and lane.room_to_grow() < run.instance_count:
        name, most = lane.compute.name, lane.compute.max_instances
        return (
            f"It starts when runs there end, or with more nodes: um compute update -n {name} --max-instances {most + 1}"
        )
    return "It starts when that much is free: um compute list-usage shows who holds it."


def of_first(room: Room, lane: Lane, run: Run, *, found: Sequence[Slot], claim: Amount, gave_way: int) -> str:
    compute = lane.compute
    if gave_way:
        return f"Waits for {gave_way} spot run{'s' * (gave_way > 1)} to give way."
    if claim != NOTHING and not claim.fits_in(room.hosts[compute.host].free):
        return room.full(compute.host, claim)
    starting = sum(1 for slot in lane.slots if slot.is_starting)
    part = "" if run.need is None else f" with {run.need} free"
    nodes = f"{run.instance_count} node{'s' * (run.instance_count > 1)} of {compute.name}{part}"
    ready = sum(slot.is_ready for slot in found)
    return f"Waits for {nodes}: {ready} free, {starting} starting, at most {compute.max_instances}."
