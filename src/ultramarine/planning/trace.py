"""Turns as they were, so that what was decided can be looked at again, and decided again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from ultramarine.planning.actions import (
    AddAllocation,
    CallAllocate,
    CallForget,
    CallRelease,
    CallSweep,
    Effect,
    Plan,
    Record,
    RecordAllocation,
    RecordCompute,
    RecordRun,
)
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State
from ultramarine.planning.turn import plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """All that a turn rested on, and what it decided, in words."""

    now: datetime
    state: State
    seen: Seen
    decided: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The same turn, decided by this version."""

    now: datetime
    decided: tuple[str, ...]
    again: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return self.decided == self.again


TRACE: TypeAdapter[list[Turned]] = TypeAdapter(list[Turned])


def replay(trace: Sequence[Turned]) -> Iterator[Replayed]:
    for turned in trace:
        again = told(plan(turned.state, turned.seen, turned.now))
        yield Replayed(now=turned.now, decided=turned.decided, again=again)


def told(made: Plan) -> tuple[str, ...]:
    """A plan in words: its records, what drivers are asked, and why others wait."""
    waits = (f"run {key} waits: {words}" for key, words in made.reasons.items())
    return (*map(_record, made.records), *map(_effect, made.effects), *waits)


def _record(record: Record) -> str:
    match record:
        case RecordRun():
            where = f" on {', '.join(record.changes['nodes'])}" if "nodes" in record.changes else ""
            return f"run {record.run.key} ({record.run.owner_name}) {record.event.value}{where}: {record.reason}"
        case AddAllocation(allocation=allocation):
            return f"node {allocation.key} of {allocation.compute_name} made: {allocation.reason}"
        case RecordAllocation(allocation=allocation):
            return f"node {allocation.key} of {allocation.compute_name} {record.event.value}: {record.reason}"
        case RecordCompute(compute=compute):
            return f"compute {compute.name} {record.event.value}: {record.reason}"


def _effect(effect: Effect) -> str:
    match effect:
        case CallAllocate(allocation=allocation):
            return f"driver allocates {allocation.key}"
        case CallRelease(allocation=allocation):
            return f"driver releases {allocation.key}"
        case CallForget(allocation=allocation):
            return f"driver forgets {allocation.key}"
        case CallSweep(key=key):
            return f"driver sweeps {key}, which no row knows"
