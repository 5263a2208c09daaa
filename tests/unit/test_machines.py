"""Every transition table: nothing is out of reach, nothing is without an end."""

from enum import StrEnum
from typing import Any

import pytest

from ultramarine.domain.allocation import ALLOCATION, AllocationEvent, AllocationStatus
from ultramarine.domain.compute import COMPUTE_STATES, ComputeEvent, ComputeStatus
from ultramarine.domain.endpoint import DEPLOYMENT, DeploymentEvent, DeploymentStatus
from ultramarine.domain.environment import ENVIRONMENT, EnvironmentEvent, EnvironmentStatus
from ultramarine.domain.errors import IllegalTransition
from ultramarine.domain.instance import INSTANCE, InstanceEvent, InstanceStatus
from ultramarine.domain.machine import Machine
from ultramarine.domain.run import ON_NODES, RUN, RunEvent, RunStatus

MACHINES: list[Any] = [
    pytest.param(RUN, RunStatus, RunEvent, id="run"),
    pytest.param(ALLOCATION, AllocationStatus, AllocationEvent, id="allocation"),
    pytest.param(COMPUTE_STATES, ComputeStatus, ComputeEvent, id="compute"),
    pytest.param(ENVIRONMENT, EnvironmentStatus, EnvironmentEvent, id="environment"),
    pytest.param(DEPLOYMENT, DeploymentStatus, DeploymentEvent, id="deployment"),
    pytest.param(INSTANCE, InstanceStatus, InstanceEvent, id="instance"),
]
#: Where these end, their compute does: none of their own statuses is the last.
ENDLESS: list[Any] = [INSTANCE]
AnyMachine = Machine[Any, Any]


def reachable(machine: AnyMachine, begin: StrEnum) -> set[StrEnum]:
    found: set[StrEnum] = {begin}
    while new := {after for (before, _), after in machine.table.items() if before in found} - found:
        found |= new
    return found


@pytest.mark.parametrize(("machine", "statuses", "events"), MACHINES)
def test_each_status_is_reachable(machine: AnyMachine, statuses: type[StrEnum], events: type[StrEnum]) -> None:
    assert reachable(machine, machine.initial) == set(statuses)


@pytest.mark.parametrize(("machine", "statuses", "events"), MACHINES)
def test_each_open_status_leads_to_a_final_one(
    machine: AnyMachine, statuses: type[StrEnum], events: type[StrEnum]
) -> None:
    if machine in ENDLESS:
        assert not machine.final
        return
    assert machine.final or machine is DEPLOYMENT
    for status in statuses:
        assert reachable(machine, status) & machine.final, f"{status} has no end"


@pytest.mark.parametrize(("machine", "statuses", "events"), MACHINES)
def test_each_event_moves_something(machine: AnyMachine, statuses: type[StrEnum], events: type[StrEnum]) -> None:
    assert {event for _, event in machine.table} == set(events)


@pytest.mark.parametrize(("machine", "statuses", "events"), MACHINES)
def test_the_diagram_shows_every_move(machine: AnyMachine, statuses: type[StrEnum], events: type[StrEnum]) -> None:
    drawn = machine.mermaid()
    for (before, event), after in machine.table.items():
        assert f"{before} --> {after}: {event}" in drawn


def test_a_move_that_is_not_in_the_table_says_what_is_possible() -> None:
    with pytest.raises(IllegalTransition) as refused:
        RUN.next(RunStatus.QUEUED, RunEvent.SUCCEEDED)
    assert str(refused.value) == "A job that is Queued cannot take succeeded."
    assert refused.value.hint == "Possible now: cancel_asked, impossible, placed, restored."


def test_a_final_status_takes_nothing() -> None:
    with pytest.raises(IllegalTransition) as refused:
        RUN.next(RunStatus.COMPLETED, RunEvent.CANCEL_ASKED)
    assert refused.value.hint == "Possible now: nothing, this status is final."


def test_whatever_has_nodes_can_be_canceled_lose_them_and_end() -> None:
    """No news may find the table without an answer: the loop would stand still for everybody."""
    for status in ON_NODES:
        can = RUN.events(status)
        assert {RunEvent.SUCCEEDED, RunEvent.CRASHED, RunEvent.NODE_LOST, RunEvent.STOPPED} <= can
        if status is not RunStatus.CANCEL_REQUESTED:
            assert {RunEvent.CANCEL_ASKED, RunEvent.RANKS_ENDED} <= can
