"""How many replicas follow the requests: more at once, fewer after a rest, none when nobody has asked for long.

What is needed now is what is in flight on average, over what each replica shall have in flight; never less than what
waits needs. What is *wanted* is the most that was needed lately: a load that swings keeps what its peaks need, and a
steady one changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from ultramarine.domain.endpoint import TargetUtilization
from ultramarine.planning.traffic import Traffic

WINDOW_S = 10.0  #: over which the requests in flight are averaged
TOLERANCE = 0.1  #: of the load that a number of replicas is made for: so much more or less means nothing
HELD_S = 3.0  #: a gateway says each second that it holds a request


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A deployment's requests at one look, over all workers of the gateway.

    `requests` and `seconds`, which they took together, grow for ever.
    """

    in_flight: int = 0
    queued: int = 0
    held: int = 0
    requests: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, traffic: Traffic) -> "Load":
        return cls(
            in_flight=traffic.in_flight,
            queued=traffic.queued,
            held=traffic.held,
            requests=traffic.requests,
            seconds=traffic.seconds.sum,
        )

    @property
    def waiting(self) -> int:
        return self.queued + self.held

    @property
    def all(self) -> int:
        return self.in_flight + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one deployment from look to look. A server that has just begun remembers nothing.

    `needs`: what was needed lately, without those that a later and larger one outdoes.
    """

    since: datetime
    looks: tuple[tuple[datetime, Load], ...] = ()
    needs: tuple[tuple[datetime, int], ...] = ()
    asked_at: datetime | None = None
    decided_at: datetime | None = None
    words: str = ""  #: what the last look has shown, for people

    @property
    def idle_since(self) -> datetime:
        return self.asked_at or self.since

    def awake_at(self, changed_at: datetime) -> "Memory":
        """A deployment that has changed is not idle before: another server may know of a request that made it so."""
        return replace(self, asked_at=max(self.idle_since, changed_at))

    def with_look(self, load: Load, now: datetime, *, held: bool) -> "Memory":
        before = self.looks[-1][1] if self.looks else load
        is_asked = load.all > 0 or load.requests != before.requests or held
        recent = tuple(look for look in self.looks if look[0] > now - timedelta(seconds=WINDOW_S))
        return replace(
            self, looks=(*recent, (now, load)), asked_at=max(now, self.idle_since) if is_asked else self.asked_at
        )

    def with_need(self, need: int, now: datetime, *, kept_s: float) -> "Memory":
        kept = (each for each in self.needs if each[1] > need and each[0] > now - timedelta(seconds=kept_s))
        return replace(self, needs=(*kept, (now, need)), decided_at=now)

    @property
    def most_needed(self) -> int:
        return max(need for _, need in self.needs)

    def average(self) -> float:
        """Requests in flight over the last looks.

        By looks, and by the time that those which have ended took: what is over between two looks counts too.
        """
        seen = sum(load.all for _, load in self.looks) / len(self.looks)
        (first, old), (last, new) = self.looks[0], self.looks[-1]
        passed_s = (last - first).total_seconds()
        return max(seen, (new.seconds - old.seconds) / passed_s) if passed_s > 0 else seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    wanted: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a deployment says of its replicas. `concurrent`: how many requests one is given at a time."""

    settings: TargetUtilization
    concurrent: int

    @property
    def each(self) -> float:
        """How many requests each replica shall have in flight."""
        return self.concurrent * self.settings.target_utilization_percentage / 100

    def within(self, count: int) -> int:
        return min(self.settings.max_instances, max(self.settings.min_instances, count))


def decide(
    scale: Scale, memory: Memory, load: Load | None, *, wanted: int, held_at: datetime | None, now: datetime
) -> tuple[Memory, Decision | None]:
    """`wanted`: how many there shall be until now. `held_at`: when a gateway last said that it holds a request.

    Without a look at the gateway (`load` is None) nothing is known, and nothing changes but what the settings say.
    """
    if (allowed := scale.within(wanted)) != wanted:
        bound = f"at least {allowed}" if allowed > wanted else f"at most {allowed}"
        return memory, Decision(wanted=allowed, reason=f"scale_settings say {bound}.")
    is_held = held_at is not None and now - held_at <= timedelta(seconds=HELD_S)
    if load is None:
        return memory, _first(wanted) if is_held and wanted == 0 else None
    memory = memory.with_look(load, now, held=is_held)
    if not _is_due(scale, memory, now) and not load.waiting and not is_held:
        return memory, None
    need = max(_need(scale, memory, load, wanted), 1 if is_held else 0)
    idle_s = (now - memory.idle_since).total_seconds()
    is_awake = idle_s < scale.settings.idle_time_before_scale_down
    need = scale.within(max(need, 1 if is_awake and wanted else 0))
    memory = memory.with_need(need, now, kept_s=scale.settings.cooldown)
    return _decided(scale, memory, load, wanted, now=now, is_awake=is_awake)


def _decided(
    scale: Scale, memory: Memory, load: Load, wanted: int, *, now: datetime, is_awake: bool
) -> tuple[Memory, Decision | None]:
    need, average = memory.needs[-1][1], memory.average()
    seen = f"{average:.1f} requests in flight on average, and each replica shall have {scale.each:g}"
    if need > wanted:
        if wanted == 0:
            return memory, _first(need)
        if load.waiting:
            seen = f"{load.waiting} requests wait beside {load.in_flight} in flight"
        return memory, Decision(wanted=need, reason=f"{seen}: {need} instead of {wanted}.")
    if need == 0 and wanted > 0 and not is_awake:
        words = f"No request for {scale.settings.idle_time_before_scale_down} s: none is kept."
        return memory, Decision(wanted=0, reason=words)
    rested_at = memory.since + timedelta(seconds=scale.settings.cooldown)
    enough = memory.most_needed if now >= rested_at else wanted
    if enough < wanted:
        words = f"{enough} were enough for {scale.settings.cooldown} s ({seen}): {enough} instead of {wanted}."
        return memory, Decision(wanted=enough, reason=words)
    more = f" {need} would be enough: fewer when that has been so for {scale.settings.cooldown} s." * (need < wanted)
    return replace(memory, words=f"{seen[0].upper()}{seen[1:]}.{more}"), None


def _first(count: int) -> Decision:
    return Decision(wanted=max(1, count), reason="A request waits for the first replica.")


def _is_due(scale: Scale, memory: Memory, now: datetime) -> bool:
    interval = timedelta(seconds=scale.settings.polling_interval)
    return memory.decided_at is None or now - memory.decided_at >= interval


def _need(scale: Scale, memory: Memory, load: Load, wanted: int) -> int:
    """How many the load needs now. What differs little from what `wanted` are made for needs as many."""
    exactly = memory.average() / scale.each
    if exactly > wanted:
        need = wanted if exactly <= wanted * (1 + TOLERANCE) else ceil(exactly)
    else:
        need = min(wanted, ceil(exactly * (1 + TOLERANCE)))
    return max(need, ceil(load.all / scale.concurrent)) if load.waiting else need
