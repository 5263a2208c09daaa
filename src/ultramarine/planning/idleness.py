"""Whether a compute instance is in use, by what, and when it stops for want of it.

What nobody could find out is no evidence of idleness: it does not stop by what is not known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ultramarine.domain.instance import Instance

CPU_PERCENT = 20.0  #: of one CPU: JupyterLab with nothing to do takes a tenth of that
GPU_PERCENT = 5.0  #: of any GPU
WARNING = timedelta(minutes=5)  #: it is told at least so long before, or as long as it may be idle
STARTING_MAX = timedelta(minutes=15)  #: that a kernel takes; one that no client ever spoke to says so for ever
WRITTEN_EACH = timedelta(seconds=30)  #: that it was busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    name: str
    is_busy: bool
    is_starting: bool = False  #: its environment may be being made
    active_at: datetime  #: by its own machine's clock, as all that its machine says


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    name: str
    active_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One of its custom applications, as the gateway sees it."""

    name: str
    connections: int  #: that are open: websockets, requests that are answered
    active_at: datetime | None = None  #: when the last one began or ended; None: not that we know


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an instance and its machine say of themselves."""

    kernels: Sequence[Kernel] = ()
    terminals: Sequence[Terminal] = ()
    applications: Sequence[Application] | None = ()  #: None: the gateway has not told
    cpu_percent: float | None = None  #: of one CPU; None: it was not told yet
    gpu_percent: float = 0.0  #: of the busiest GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Idleness:
    """`busy_by`: what it is doing. `stops_at`: when it stops if nothing happens; None: not by itself, as it is now."""

    busy_by: tuple[str, ...] = ()
    active_at: datetime
    stops_at: datetime | None = None
    why: str  #: it stays, or stops

    def must_stop(self, now: datetime) -> bool:
        return self.stops_at is not None and self.stops_at <= now

    def warns(self, now: datetime) -> bool:
        """Whether its end is near."""
        return self.stops_at is not None and self.stops_at - now <= WARNING


def judge(
    instance: Instance, evidence: Evidence | None, *, idle_minutes: int | None, watched_since: datetime, now: datetime
) -> Idleness:
    """`watched_since`: since when it was asked without a gap; None of `evidence`: it does not answer."""
    if evidence is None:
        return Idleness(active_at=instance.active_at, why="It stays up: it does not say what it does.")
    busy_by = tuple(_busy(evidence, now))
    active_at = now if busy_by else _last_active(instance, evidence, now)
    if idle_minutes is None:
        words = "It stays up: it has no idle_time_before_shutdown_minutes."
        return Idleness(busy_by=busy_by, active_at=active_at, why=words)
    if busy_by:
        return Idleness(busy_by=busy_by, active_at=active_at, why=f"It stays up: {'; '.join(busy_by)}.")
    if evidence.applications is None:
        words = "It stays up: whether its applications are in use is not known, since the gateway does not answer."
        return Idleness(active_at=active_at, why=words)
    if evidence.cpu_percent is None:
        return Idleness(active_at=active_at, why="It stays up: what its processes use is not known yet.")
    may_be = timedelta(minutes=idle_minutes)
    by_itself, awake = active_at + may_be, instance.awake_until
    # Who looks at it must have been able to see that it is about to stop.
    stops_at = max(by_itself, watched_since + min(WARNING, may_be), awake or by_itself)
    why = f"Idle since {active_at:%H:%M} UTC; it stops at {stops_at:%Y-%m-%d %H:%M} UTC"
    if awake is not None and by_itself < awake:
        why += ", until when somebody wants it to stay"
    return Idleness(active_at=active_at, stops_at=stops_at, why=f"{why}.")


def stop_words(found: Idleness, *, idle_minutes: int) -> str:
    return f"Idle since {found.active_at:%H:%M} UTC, for {idle_minutes} minutes or more."


def is_worth_writing(instance: Instance, found: Idleness) -> bool:
    """Whether it was in use since what is written: not each moment of it."""
    return found.active_at - instance.active_at >= WRITTEN_EACH


def _busy(evidence: Evidence, now: datetime) -> Iterator[str]:
    yield from (f"the kernel {kernel.name} is busy" for kernel in evidence.kernels if kernel.is_busy)
    for kernel in evidence.kernels:
        if kernel.is_starting and now - kernel.active_at < STARTING_MAX:
            yield f"the kernel {kernel.name} is starting"
    for application in evidence.applications or ():
        if count := application.connections:
            yield f"the application {application.name} has {count} connection{'s' * (count > 1)} open"
    if evidence.cpu_percent is not None and evidence.cpu_percent >= CPU_PERCENT:
        yield f"its processes use {evidence.cpu_percent:.0f} % of a CPU"
    if evidence.gpu_percent >= GPU_PERCENT:
        yield f"a GPU is at {evidence.gpu_percent:.0f} %"


def _last_active(instance: Instance, evidence: Evidence, now: datetime) -> datetime:
    used = [each.active_at for each in (*evidence.kernels, *evidence.terminals, *(evidence.applications or ()))]
    return max((instance.active_at, *(min(at, now) for at in used if at is not None)))
