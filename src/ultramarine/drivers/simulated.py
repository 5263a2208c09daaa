"""Compute that exists in memory only, for tests of what is above it. It passes the same contract as the real kinds.

What goes wrong with real targets goes wrong here by dice: calls that fail, calls that work and cannot say so, machines
that start late, vanish, or are silent.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import ClassVar, Literal

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.domain.size import Amount
from ultramarine.drivers.protocol import Observation
from ultramarine.planning.seen import AllocationNews


class Outage(OSError):
    """The target does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each thing goes wrong, as a share between 0 and 1."""

    outage: float = 0.0  #: of calls: nothing was done, and it raises
    lost_reply: float = 0.0  #: of calls: all was done, and it raises
    no_word: float = 0.0  #: of allocations looked at: the target says nothing of it this time
    late_start: float = 0.0  #: of machines: the target has them, and nothing begins there for `late_s`
    late_s: float = 120.0


CALM = Faults()


@dataclass(slots=True, kw_only=True)
class Machine:
    """What an allocation really is. `is_seen`: the target notices its end by itself.

    `is_given`: the target has had room for it; before that it waits. `unlisted_until`: not observed before that.
    """

    key: AllocationKey
    claim: Amount
    gpu_ids: tuple[str, ...] = ()
    up_at: datetime
    state: Literal["up", "ended"] = "up"
    is_given: bool = False
    is_seen: bool = True
    unlisted_until: datetime | None = None
    reason: str = ""

    def is_listed(self, now: datetime) -> bool:
        return self.unlisted_until is None or now >= self.unlisted_until


class SimulatedTarget:
    """The machines themselves; they outlive every server and driver."""

    def __init__(self, clock: Callable[[], datetime], dice: Random) -> None:
        self.clock, self.dice = clock, dice
        self.faults = CALM
        self.room = sys.maxsize  #: how many machines it can give at once; in which order it gives them, dice say
        self.machines: dict[AllocationKey, Machine] = {}
        self.launches: Counter[AllocationKey] = Counter()  #: how often each was started since it was last forgotten

    def alive(self) -> list[Machine]:
        """Those that take room now, whether or not their runner has begun."""
        machines = [machine for machine in self.machines.values() if machine.state == "up"]
        given, waiting = ([m for m in machines if m.is_given is is_given] for is_given in (True, False))
        while waiting and len(given) < self.room:
            lucky = waiting.pop(self.dice.randrange(len(waiting)) if self.room < sys.maxsize else 0)
            lucky.is_given, lucky.up_at = True, max(lucky.up_at, self.clock())
            given.append(lucky)
        return given

    def launch(self, allocation: Allocation) -> None:
        late_s = self.faults.late_s if self.dice.random() < self.faults.late_start else 0.0
        self.launches[allocation.key] += 1
        self.machines[allocation.key] = Machine(
            key=allocation.key,
            claim=allocation.claim,
            gpu_ids=allocation.gpu_ids,
            up_at=self.clock() + timedelta(seconds=late_s),
        )

    def kill(self, key: AllocationKey, *, is_seen: bool = True) -> None:
        """The machine ends, with all that runs on it. Unseen: the target goes on knowing nothing of it."""
        machine = self.machines[key]
        machine.state, machine.is_seen, machine.reason = "ended", is_seen, "The machine has vanished."


class SimulatedDriver:
    kind: ClassVar[str] = "simulated"

    def __init__(self, target: SimulatedTarget) -> None:
        self._target = target

    async def allocate(self, allocation: Allocation) -> None:
        self._begin()
        if allocation.key not in self._target.machines:
            self._target.launch(allocation)
        self._end()

    async def observe(self) -> Observation:
        self._begin()
        given = {machine.key for machine in self._target.alive()}
        now, machines = self._target.clock(), self._target.machines
        listed = {key: machine for key, machine in machines.items() if machine.is_listed(now)}
        observed = {key: self._look(machine, is_given=key in given) for key, machine in listed.items()}
        self._end()
        return observed

    async def release(self, key: AllocationKey, *, grace_s: float) -> None:
        self._begin()
        machines = self._target.machines
        if key not in machines:
            machines[key] = Machine(key=key, claim=Amount(), up_at=self._target.clock(), state="ended")
        elif machines[key].state != "ended":
            self._target.kill(key)
        machines[key].is_seen, machines[key].reason = True, "Released."
        self._end()

    async def forget(self, key: AllocationKey) -> None:
        self._begin()
        self._target.machines.pop(key, None)
        self._target.launches.pop(key, None)
        self._end()

    def _look(self, machine: Machine, *, is_given: bool) -> AllocationNews:
        if not machine.is_seen or self._target.dice.random() < self._target.faults.no_word:
            return AllocationNews(state="unknown")
        if machine.state == "up" and not is_given:
            return AllocationNews(state="pending", reason="The target has no room for it.")
        return AllocationNews(state=machine.state, reason=machine.reason)

    def _begin(self) -> None:
        if self._target.dice.random() < self._target.faults.outage:
            raise Outage("The target does not answer.")

    def _end(self) -> None:
        if self._target.dice.random() < self._target.faults.lost_reply:
            raise Outage("The target's answer was lost.")
