"""What a driver is: four verbs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.names import AllocationKey
from ultramarine.planning.seen import AllocationNews

Observation = Mapping[AllocationKey, AllocationNews]


class Driver(Protocol):
    """Knows one kind of compute. Every method may be called again after any failure, by this server or another."""

    kind: ClassVar[str]

    async def allocate(self, allocation: Allocation) -> None:
        """Bring up its machines with a runner on each, unless an allocation with this key was ever made here."""
        ...

    async def observe(self) -> Observation:
        """Every allocation of ours, in one round trip: pending (why), up, ended or unknown. Absence is unknown."""
        ...

    async def release(self, key: AllocationKey, *, grace_s: float) -> None:
        """Ask it to end, and see that it does: after `grace_s` it is made to. Nobody waits; `observe` tells the end.

        One that was never made is marked as ended, so that it never begins.
        """
        ...

    async def forget(self, key: AllocationKey) -> None:
        """Clean up after an ended allocation. From now on it is not observed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What a driver hands to the runners that it starts."""

    config: Callable[[Allocation, int], Mapping[str, Any]]  #: (allocation, rank) -> the runner's config.json
    wake: Callable[[], None]  #: something has changed: look again
    lease_s: float = 300  #: how long a runner that is not heard goes on with its tasks
