"""A transition table: which status moves are legal, for anything that has statuses."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Generic, TypeVar

from ultramarine.domain.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class Machine(Generic[S, E]):
    """Statuses are states of being, events are facts in the past tense; the table is the whole truth."""

    noun: str
    initial: S
    table: Mapping[tuple[S, E], S]

    def next(self, status: S, event: E) -> S:
        """The status after `event`. Raises `IllegalTransition`, which lists what is possible."""
        if (after := self.table.get((status, event))) is None:
            raise IllegalTransition(self.noun, status, event, allowed=[e.value for e in self.events(status)])
        return after

    def events(self, status: S) -> frozenset[E]:
        """What can happen to a thing in this status."""
        return frozenset(event for (before, event) in self.table if before == status)

    @property
    def statuses(self) -> frozenset[S]:
        return frozenset({self.initial} | {s for s, _ in self.table} | set(self.table.values()))

    @cached_property
    def final(self) -> frozenset[S]:
        """Statuses with no way out."""
        left = {before for (before, _), after in self.table.items() if before != after}
        return self.statuses - left

    def mermaid(self) -> str:
        """The diagram of the docs."""
        arrows = sorted(f"    {a} --> {b}: {e}" for (a, e), b in self.table.items())
        ends = sorted(f"    {s} --> [*]" for s in self.final)
        return "\n".join(["stateDiagram-v2", f"    [*] --> {self.initial}", *arrows, *ends])
