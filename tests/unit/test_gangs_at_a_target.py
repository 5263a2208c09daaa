"""Gangs whose nodes a target gives one by one, which alone knows how much room it has: none waits for ever."""

from dataclasses import replace
from typing import Any

from tests.factories import later, make_allocation, make_cluster, make_node, make_run, make_seen, make_state
from tests.unit.turns import added, drained, placed, turn

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.host import ENDLESS, Host
from ultramarine.domain.names import ComputeId, RunKey
from ultramarine.domain.run import RunReport
from ultramarine.planning.growth import HOLDS
from ultramarine.planning.seen import AllocationNews, Seen
from ultramarine.planning.state import State

FULL = "Ray has no node with 1 CPU free now."
LEFT, RIGHT = (make_cluster(id, host="ray") for id in ("c1", "c2"))
START_S = make_seen().patience.start_s


def has(compute: Any, ups: int, waits: int) -> list[Allocation]:
    """Its nodes: so many are up, so many wait at the target."""
    statuses = [S.UP] * ups + [S.STARTING] * waits
    return [make_allocation(n, compute=compute, status=status) for n, status in enumerate(statuses, 1)]


def two_gangs(left: list[Allocation], right: list[Allocation]) -> State:
    hosts = [Host(name="ray", pool="ray", is_bounded=False, total=ENDLESS)]
    runs = [
        make_run("a", compute=ComputeId("c1"), instance_count=2),
        make_run("b", compute=ComputeId("c2"), instance_count=2, priority=-1),
    ]
    return make_state(
        runs=runs,
        computes=[LEFT, RIGHT],
        hosts=hosts,
        allocations=[*left, *right],
        nodes=[make_node(a) for a in (*left, *right) if a.status is S.UP],
    )


def seen(state: State, seconds: float) -> Seen:
    waiting = {a.key: AllocationNews(state="pending", reason=FULL) for a in state.allocations if a.status is S.STARTING}
    up = {a.node: dict[RunKey, RunReport]() for a in state.allocations if a.status is S.UP}
    heard_at = later(seconds)
    return make_seen(up, heard_at=heard_at, allocations=waiting, pending_at=dict.fromkeys(waiting, heard_at))


def after(state: State, seconds: float) -> Any:
    return turn(state, seen(state, seconds), seconds)


def test_when_each_has_a_half_the_second_in_the_queue_gives_back_what_it_has_and_what_it_waits_for():
    state = two_gangs(has(LEFT, 1, 1), has(RIGHT, 1, 1))
    made = after(state, START_S + 1)
    assert drained(made) == [a.key for a in state.allocations if a.compute == "c2"]
    assert added(made) == []
    assert "no room for all nodes of b, and a waits there before it" in made.reasons[state.runs[1].key]
    assert FULL in made.reasons[state.runs[0].key]


def test_who_has_given_back_asks_for_nothing_as_long_as_the_first_waits():
    state = two_gangs(has(LEFT, 1, 1), [])
    made = after(state, START_S + 1)
    assert added(made) == []
    assert made.reasons[state.runs[1].key] == "Behind a, which waits for room on ray."
    begun = after(two_gangs(has(LEFT, 2, 0), []), START_S + 1)
    assert len(added(begun)) == 2


def test_nobody_gives_back_before_a_node_could_have_started():
    assert drained(after(two_gangs(has(LEFT, 1, 1), has(RIGHT, 1, 1)), START_S - 1)) == []


def test_one_that_waits_alone_keeps_what_it_has():
    assert drained(after(two_gangs(has(LEFT, 1, 1), []), START_S + 1)) == []


def test_the_second_keeps_what_has_come_to_be_whole():
    made = after(two_gangs(has(LEFT, 1, 1), has(RIGHT, 2, 0)), START_S + 1)
    assert drained(made) == []
    assert set(placed(made)) == {"b"}


def test_what_a_first_waits_for_in_vain_it_gives_back_at_last_and_the_second_holds():
    long = HOLDS * START_S
    lately = [replace(a, created_at=later(long - START_S - 1)) for a in has(RIGHT, 1, 1)]
    state = two_gangs(has(LEFT, 1, 1), lately)
    made = after(state, long + 1)
    assert drained(made) == [a.key for a in state.allocations if a.compute == "c1"]
    assert "others may begin meanwhile" in made.reasons[state.runs[0].key]


def test_on_a_machine_whose_room_we_count_nothing_is_given_back():
    state = two_gangs(has(LEFT, 1, 1), has(RIGHT, 1, 1))
    bounded = replace(state, hosts=[replace(state.hosts[0], is_bounded=True)])
    assert drained(after(bounded, START_S + 1)) == []


def test_a_minimum_is_kept():
    state = two_gangs(has(LEFT, 1, 1), has(RIGHT, 1, 1))
    spec = RIGHT.spec.model_copy(update={"min_instances": 1})
    state = replace(state, computes=[LEFT, replace(RIGHT, spec=spec)])
    assert len(drained(after(state, START_S + 1))) == 1
