"""The worked examples of docs/explanation/scheduling.md, decided by the planner itself."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.factories import cpus, later, make_allocation, make_cluster, make_host, make_node, make_run, make_seen
from tests.factories import make_state as state_of
from tests.unit.turns import added, drained, heard, placed, preempted, turn, up

from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.compute import Compute
from ultramarine.domain.host import ENDLESS, Host
from ultramarine.domain.names import ComputeId
from ultramarine.domain.quota import Quota
from ultramarine.domain.run import Run, RunStatus, Tier
from ultramarine.planning.actions import Plan
from ultramarine.planning.growth import HOLDS
from ultramarine.planning.queue import in_order
from ultramarine.planning.seen import AllocationNews, Patience

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scheduling.md"
TITLE = re.compile(r"^\*\*Example: ([^*]+)\.\*\*", re.MULTILINE)
TRIED: dict[str, Callable[..., Any]] = {}


def example(title: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """This test decides the page's example of that title."""

    def note(test: Callable[..., Any]) -> Callable[..., Any]:
        TRIED[title] = test
        return test

    return note


def paragraph(title: str) -> str:
    """The page's words about one example."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(f"**Example: {title}.**") :].split("\n\n", 1)[0]


def c(nodes: int, id: str = "c1", **different: Any) -> Compute:
    return make_cluster(id, **({"name": "c", "max_instances": nodes} | different))


def running(name: str, *nodes: Any, **different: Any) -> Run:
    keys = tuple(allocation.node for allocation in nodes)
    plain: dict[str, Any] = {"status": RunStatus.RUNNING, "started_at": later(0), "nodes": keys}
    return make_run(name, **(plain | different))


def reason(made: Plan, run: Run, *, title: str) -> None:
    """What the planner says of it is what the page quotes."""
    assert f"`{made.reasons[run.key]}`" in paragraph(title)


def test_every_example_of_the_page_is_tried_and_no_other() -> None:
    assert sorted(TITLE.findall(PAGE.read_text(encoding="utf-8"))) == sorted(TRIED)


@example("fair share")
def test_users_with_jobs_that_are_alike_take_turns() -> None:
    runs = [make_run(f"a{n}", user="ann", asked_at=later(n)) for n in range(3)]
    runs += [make_run(f"b{n}", user="bob", asked_at=later(10 + n)) for n in range(2)]
    order = [run.user for run in in_order(state_of(runs=runs))]
    assert order == ["ann", "bob", "ann", "bob", "ann"]
    has_two = [running(f"r{n}", user="ann") for n in range(2)]
    order = [run.user for run in in_order(state_of(runs=[*has_two, *runs]))]
    assert order == ["bob", "bob", "ann", "ann", "ann"]


@example("all or none")
def test_a_gang_takes_no_node_before_it_can_have_all() -> None:
    nodes = up(3)
    gang = make_run("gang", instance_count=3)
    state = state_of(runs=[running("long", nodes[2]), gang], allocations=nodes, computes=[c(3)])
    made = turn(state, heard(*nodes))
    assert (placed(made), added(made)) == ({}, [])
    reason(made, gang, title="all or none")
    made = turn(replace(state, runs=[gang]), heard(*nodes))
    assert len(set(placed(made)["gang"])) == 3


@example("parts of nodes")
def test_parts_fill_the_fullest_node_and_whole_nodes_stay_free() -> None:
    cluster = c(2, size=cpus(2))
    nodes = up(2, compute=cluster)
    there = running("there", nodes[1], need=cpus(0.5))
    parts = [make_run(f"p{n}", need=cpus(0.5), asked_at=later(n - 9)) for n in range(3)]
    whole = make_run("whole")
    state = state_of(runs=[there, *parts, whole], allocations=nodes, computes=[cluster])
    second = (nodes[1].node,)
    assert placed(turn(state, heard(*nodes))) == {"p0": second, "p1": second, "p2": second, "whole": (nodes[0].node,)}


@example("a short job passes")
@pytest.mark.parametrize(("limit_s", "passes"), [(60, True), (930, True), (950, False), (1000, False), (None, False)])
def test_a_job_passes_a_gang_if_its_own_limit_ends_it_before_the_gang_could_begin(
    limit_s: int | None, passes: bool
) -> None:
    nodes = up(2)
    gang = make_run("gang", instance_count=2, asked_at=later(-9))
    small = make_run("small", timeout_s=limit_s)
    state = state_of(runs=[running("long", nodes[1], timeout_s=1000), gang, small], allocations=nodes, computes=[c(2)])
    made = turn(state, heard(*nodes), 1)
    assert placed(made) == ({"small": (nodes[0].node,)} if passes else {})
    endless = replace(state, runs=[running("long", nodes[1]), gang, small])
    assert placed(turn(endless, heard(*nodes), 1)) == {}, "nobody passes where nobody knows when the gang begins"


@example("one that can never start")
def test_a_job_that_is_larger_than_the_machine_holds_up_nobody() -> None:
    wide = c(9, "c2", name="wide")
    nodes = up(1)
    giant = make_run("giant", instance_count=5, compute=wide.id, asked_at=later(-9))
    made = turn(state_of(runs=[giant, make_run("j")], computes=[c(4), wide], allocations=nodes), heard(*nodes))
    assert placed(made) == {"j": (nodes[0].node,)}
    reason(made, giant, title="one that can never start")


@example("spot gives way")
def test_as_few_spot_jobs_as_it_takes_give_way_and_the_newest_first() -> None:
    nodes = up(3)
    spots = [running(f"s{n}", a, tier=Tier.SPOT, changed_at=later(n)) for n, a in enumerate(nodes)]
    firm = make_run("firm", instance_count=2)
    state = state_of(runs=[*spots, firm], allocations=nodes, computes=[c(3)])
    made = turn(state, heard(*nodes))
    assert preempted(made) == ["s2", "s1"]
    reason(made, firm, title="spot gives way")
    in_vain = replace(state, runs=[*spots[1:], running("other", nodes[0]), make_run("firm", instance_count=3)])
    assert preempted(turn(in_vain, heard(*nodes))) == []
    among_spots = replace(state, runs=[*spots, make_run("s3", tier=Tier.SPOT, priority=1)])
    assert preempted(turn(among_spots, heard(*nodes))) == []


def halves(age_s: float) -> tuple[Any, Any]:
    """Gangs of two on two clusters of a target that gives nodes one by one; each has one and waits for the other."""
    clusters = [make_cluster(id, host="ray", name=name) for id, name in (("c1", "left"), ("c2", "right"))]
    allocations = [
        make_allocation(n, compute=cluster, status=status)
        for cluster in clusters
        for n, status in ((1, S.UP), (2, S.STARTING))
    ]
    runs = [
        make_run("first", compute=ComputeId("c1"), instance_count=2),
        make_run("second", compute=ComputeId("c2"), instance_count=2, priority=-1),
    ]
    state = state_of(
        runs=runs,
        computes=clusters,
        hosts=[Host(name="ray", pool="ray", is_bounded=False, total=ENDLESS)],
        allocations=allocations,
        nodes=[make_node(a) for a in allocations if a.status is S.UP],
    )
    waiting = {a.key: AllocationNews(state="pending", reason="Full.") for a in allocations if a.status is S.STARTING}
    seen = make_seen(
        {a.node: {} for a in allocations if a.status is S.UP},
        heard_at=later(age_s),
        allocations=waiting,
        pending_at=dict.fromkeys(waiting, later(age_s)),
    )
    return state, seen


@example("two gangs with a half each")
def test_the_second_of_two_gangs_gives_back_its_half_and_the_first_holds_on_for_ten_times_as_long() -> None:
    start_s = Patience().start_s
    assert (start_s, HOLDS) == (60, 10), "the page says so in numbers"

    def given_back(age_s: float) -> Sequence[str]:
        state, seen = halves(age_s)
        return drained(turn(state, seen, age_s))

    assert given_back(59) == []
    assert given_back(61) == ["e1-c2-1", "e1-c2-2"]
    state, seen = halves(61)
    reason(turn(state, seen, 61), state.runs[1], title="two gangs with a half each")
    state, seen = halves(601)
    lately = [replace(a, created_at=later(580)) if a.compute == "c2" else a for a in state.allocations]
    assert drained(turn(replace(state, allocations=lately), seen, 601)) == ["e1-c1-1", "e1-c1-2"]


@example("idle nodes go for others")
def test_as_many_idle_nodes_go_at_once_as_others_need_and_the_rest_stays() -> None:
    idle, other = up(4), c(4, "c2", name="other")
    waits = make_run("j", compute=other.id, instance_count=2)
    made = turn(state_of(runs=[waits], computes=[c(4), other], allocations=idle), heard(*idle))
    assert len(drained(made)) == 2
    kept = turn(state_of(runs=[waits], computes=[c(4, min_instances=3), other], allocations=idle), heard(*idle))
    assert drained(kept) == []
    reason(kept, waits, title="idle nodes go for others")


@example("starts that fail")
def test_the_time_until_the_next_start_doubles() -> None:
    run = make_run("j")
    failed = [make_allocation(n, status=S.FORGOTTEN, reason="No hello.", changed_at=later(n)) for n in range(1, 4)]
    state = state_of(runs=[run], failed_starts=failed, computes=[c(4)])
    early = turn(state, heard(), 6)
    assert added(early) == []
    reason(early, run, title="starts that fail")
    assert len(added(turn(state, heard(), 7))) == 1


@example("a quota")
def test_a_workspace_gets_as_many_nodes_as_its_quota_and_others_are_not_held_up() -> None:
    runs = [make_run(f"j{n}", asked_at=later(n - 9)) for n in range(4)]
    elsewhere = c(4, "c2", workspace="v")
    other = make_run("k", compute=elsewhere.id, workspace="v")
    host = make_host(total=cpus(8))
    state = state_of(runs=[*runs, other], computes=[c(4), elsewhere], hosts=[host], quotas={"w": Quota(nodes=2)})
    made = turn(state, heard())
    assert added(made) == ["e1-c1-1", "e1-c1-2", "e1-c2-1"]
    reason(made, runs[2], title="a quota")
    reason(made, runs[3], title="a quota")
