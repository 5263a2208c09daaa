"""A turn of the planner, and what it decided."""

from datetime import datetime
from typing import Any

from tests.factories import NOON, later, make_allocation, make_seen

from ultramarine.domain.allocation import Allocation, AllocationEvent
from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.run import RunEvent
from ultramarine.planning.actions import AddAllocation, Plan, RecordAllocation, RecordRun
from ultramarine.planning.seen import Seen
from ultramarine.planning.turn import plan


def up(count: int, **different: Any) -> list[Allocation]:
    return [make_allocation(n, status=S.UP, **different) for n in range(1, count + 1)]


def heard(*allocations: Allocation, at: datetime = NOON, **different: Any) -> Seen:
    return make_seen({a.node: {} for a in allocations}, heard_at=at, **different)


def turn(state: Any, seen: Seen, seconds: float = 1) -> Plan:
    return plan(state, seen, later(seconds))


def placed(made: Plan) -> dict[str, tuple[str, ...]]:
    """By job, the nodes that it got."""
    records = [r for r in made.records if isinstance(r, RecordRun) and r.event is RunEvent.PLACED]
    return {record.run.owner_name: record.changes["nodes"] for record in records}


def preempted(made: Plan) -> list[str]:
    return [r.run.owner_name for r in made.records if isinstance(r, RecordRun) and r.event is RunEvent.PREEMPTED]


def added(made: Plan) -> list[str]:
    return [record.allocation.key for record in made.records if isinstance(record, AddAllocation)]


def drained(made: Plan) -> list[str]:
    records = [r for r in made.records if isinstance(r, RecordAllocation) and r.event is AllocationEvent.DRAIN_ASKED]
    return [record.allocation.key for record in records]
