"""Why nodes are kept, made and removed."""

from typing import Any

from tests.factories import later, make_allocation, make_cluster, make_run, make_seen, make_state
from tests.unit.turns import heard, up

from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.run import RunStatus
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State
from ultramarine.planning.turn import go_through
from ultramarine.planning.why import of_compute


def said(state: State, seen: Seen, *, seconds: float = 1) -> dict[str, str]:
    room = go_through(state, seen, later(seconds)).room
    return {node.key: node.words for node in of_compute(room, make_cluster().id, resting=None).nodes}


def test_each_node_says_why_it_is_there() -> None:
    nodes = up(4)
    starting = make_allocation(5, status=S.STARTING, reason="For j.")
    busy = make_run("busy", status=RunStatus.RUNNING, nodes=(nodes[0].node,))
    state: Any = make_state(
        runs=[busy, make_run("new")],
        allocations=[*nodes, starting],
        computes=[make_cluster(max_instances=5, idle_time_before_scale_down=60)],
    )
    found = said(state, heard(*nodes[:3], at=later(9)), seconds=16)
    assert found == {
        "e1-c1-1": "Kept: busy with busy.",
        "e1-c1-2": "Kept: it has just got work.",
        "e1-c1-3": "Kept: idle for 16 s; removed in 44 s (idle_time_before_scale_down is 60 s).",
        "e1-c1-4": "Kept for now: its runner is not heard, or something that has ended still leaves it.",
        "e1-c1-5": "Starting. For j.",
    }


def test_a_node_that_is_removed_says_why() -> None:
    nodes = up(2)
    state = make_state(allocations=nodes, computes=[make_cluster(min_instances=1, idle_time_before_scale_down=60)])
    found = said(state, heard(*nodes, at=later(60)), seconds=61)
    assert found == {"e1-c1-1": "Removed: Idle for 61 s.", "e1-c1-2": "Kept: idle, and min_instances is 1."}


def test_the_first_that_waits_is_named_with_its_reason() -> None:
    nodes = up(2)
    runs = [make_run(f"b{n}", status=RunStatus.RUNNING, nodes=(a.node,)) for n, a in enumerate(nodes)]
    state = make_state(
        runs=[*runs, make_run("j"), make_run("k", asked_at=later(-1))],
        allocations=nodes,
        computes=[make_cluster(max_instances=2)],
    )
    found = of_compute(go_through(state, make_seen(), later(1)).room, make_cluster().id, resting=None)
    assert (found.waiting, found.first) == (2, "k")
    assert found.first_words == "Waits for 1 node of cluster-c1: 0 free, 0 starting, at most 2."
