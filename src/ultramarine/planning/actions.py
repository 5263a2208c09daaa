"""What a plan consists of: records and effects.

Records share one transaction; each effect is a single call that is safe to repeat.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ultramarine.domain.allocation import Allocation, AllocationEvent, Node
from ultramarine.domain.compute import Compute, ComputeEvent
from ultramarine.domain.host import Host
from ultramarine.domain.names import AllocationKey, RunKey
from ultramarine.domain.run import Run, RunEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRun:
    """A run took an event. `again`: the next attempt, queued in the same transaction."""

    run: Run
    event: RunEvent
    reason: str = ""
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    again: Run | None = None

    def runs(self, now: datetime) -> tuple[Run, ...]:
        """What is there once it is written: the run after the event, and the next attempt."""
        after = replace(self.run.after(self.event, now=now, reason=self.reason), **self.changes)
        return (after,) if self.again is None else (after, self.again)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAllocation:
    """Write the row of a new allocation, before anything is started. `compute` has counted it."""

    allocation: Allocation
    compute: Compute


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAllocation:
    allocation: Allocation
    event: AllocationEvent
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCompute:
    compute: Compute
    event: ComputeEvent
    reason: str = ""


Record = RecordRun | AddAllocation | RecordAllocation | RecordCompute


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAllocate:
    allocation: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRelease:
    allocation: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForget:
    allocation: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSweep:
    """The target has something of ours that no row knows (any more): it is ended, then forgotten."""

    key: AllocationKey
    is_over: bool


Effect = CallAllocate | CallRelease | CallForget | CallSweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a run waits.

    `words` are kept with it, so they do not change with every turn; `unblocks` is told to who asks.
    """

    words: str
    unblocks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`nodes` and `hosts`: copies that the records rest on; a record is refused when one of them was changed since."""

    records: tuple[Record, ...] = ()
    effects: tuple[Effect, ...] = ()
    nodes: tuple[Node, ...] = ()
    hosts: tuple[Host, ...] = ()
    reasons: dict[RunKey, str] = field(default_factory=dict[RunKey, str])
    checkpoints: dict[RunKey, str] = field(
        default_factory=dict[RunKey, str]
    )  #: new ones of runs that take no event now
