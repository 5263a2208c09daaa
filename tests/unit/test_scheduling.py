"""Who may pass whom, who gives way, who shares a node, and what a quota holds back."""

from dataclasses import replace
from typing import Any

from tests.factories import (
    cpus,
    later,
    make_allocation,
    make_cluster,
    make_host,
    make_local,
    make_node,
    make_report,
    make_run,
    make_seen,
    make_state,
)
from tests.unit.turns import added, drained, heard, placed, preempted, turn, up

from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.names import ComputeId
from ultramarine.domain.quota import Quota
from ultramarine.domain.run import Cause, Ending, Mode, Run, RunEvent, RunStatus, Tier
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.state import State
from ultramarine.planning.turn import plan

TWO = make_cluster(max_instances=2)


def running(name: str, *nodes: Any, **different: Any) -> Run:
    keys = tuple(allocation.node for allocation in nodes)
    plain: dict[str, Any] = {"status": RunStatus.RUNNING, "started_at": later(0), "nodes": keys}
    return make_run(name, **(plain | different))


def behind_a_gang(passing: Run, *, limit_s: int | None) -> State:
    """One node of two is free; the other's run has `limit_s`. A gang of two is first in line, `passing` behind it."""
    nodes = up(2)
    long = running("long", nodes[1], timeout_s=limit_s)
    gang = make_run("gang", instance_count=2, asked_at=later(-9))
    return make_state(runs=[long, gang, passing], allocations=nodes, computes=[TWO])


# Passing


def test_a_short_run_passes_a_gang_that_it_cannot_delay() -> None:
    state = behind_a_gang(make_run("short", timeout_s=60), limit_s=1000)
    assert placed(turn(state, heard(*state.allocations))) == {"short": (state.allocations[0].node,)}


def test_a_run_that_may_last_longer_than_the_gang_waits_does_not_pass() -> None:
    state = behind_a_gang(make_run("long-too", timeout_s=1000), limit_s=1000)
    assert placed(turn(state, heard(*state.allocations))) == {}


def test_a_run_without_a_time_limit_does_not_pass() -> None:
    state = behind_a_gang(make_run("endless"), limit_s=1000)
    assert placed(turn(state, heard(*state.allocations))) == {}


def test_nobody_passes_when_nobody_knows_how_long_the_gang_waits() -> None:
    state = behind_a_gang(make_run("short", timeout_s=1), limit_s=None)
    assert placed(turn(state, heard(*state.allocations))) == {}


def test_a_run_on_nodes_that_the_gang_does_not_need_passes_without_a_limit() -> None:
    """Of three nodes two are soon free at the latest; the gang needs those and not the third."""
    nodes = up(3)
    small = make_run("small", need=cpus(0.5))
    gang = make_run("gang", instance_count=2, asked_at=later(-9))
    on_first = running("first", nodes[0], timeout_s=10)
    on_second = running("second", nodes[1], timeout_s=20)
    half = running("half", nodes[2], need=cpus(0.5))
    state = make_state(
        runs=[on_first, on_second, half, gang, small], allocations=nodes, computes=[make_cluster(max_instances=3)]
    )
    assert placed(turn(state, heard(*nodes))) == {"small": (nodes[2].node,)}


def test_only_the_room_that_the_first_in_line_needs_is_held_for_it() -> None:
    """It waits for CPUs: a replica, which takes a share of them and memory that is left over, does not wait behind."""
    local, cluster = make_local(), make_cluster(size=cpus(2), max_instances=2)
    machine = make_allocation(1, compute=local, status=S.UP)
    busy = make_allocation(1, compute=cluster, status=S.UP)
    host = make_host(total=replace(cpus(4), shares_milli=4000, memory_bytes=64 << 30))
    share = Amount(shares_milli=100, memory_bytes=1 << 30)
    runs = [
        running("busy", busy),
        make_run("gang", instance_count=2, asked_at=later(-9)),
        make_run("replica", compute=local.id, need=share, mode=Mode.SERVICE),
    ]
    held = running("held", machine, compute=local.id, need=cpus(1))
    state = make_state(runs=[*runs, held], computes=[local, cluster], allocations=[machine, busy], hosts=[host])
    assert placed(turn(state, heard(machine, busy))) == {"replica": (machine.node,)}


def test_a_stream_of_jobs_on_the_machine_itself_does_not_starve_a_gang() -> None:
    local = make_local()
    machine = make_allocation(1, compute=local, status=S.UP)
    runs = [
        running("r1", machine, compute=local.id, need=cpus(1)),
        make_run("gang", instance_count=4, asked_at=later(-9)),
        make_run("next", compute=local.id, need=cpus(1)),
    ]
    state = make_state(runs=runs, computes=[local, make_cluster()], allocations=[machine])
    made = turn(state, heard(machine))
    assert (placed(made), added(made)) == ({}, [])
    assert "left of 4 CPUs" in made.reasons[runs[1].key]


def test_one_that_can_never_start_holds_up_nobody() -> None:
    wide = make_cluster("c2", max_instances=9)
    nodes = up(1)
    runs = [make_run("giant", instance_count=5, compute=wide.id, asked_at=later(-9)), make_run("j")]
    made = turn(make_state(runs=runs, computes=[make_cluster(), wide], allocations=nodes), heard(*nodes))
    assert placed(made) == {"j": (nodes[0].node,)}
    assert made.reasons[runs[0].key].endswith("it can never start here.")


def test_one_that_waits_for_what_a_deployment_keeps_holds_up_nobody_and_says_so() -> None:
    local = make_local()
    machine = make_allocation(1, compute=local, status=S.UP)
    replica = running("replica", machine, compute=local.id, need=cpus(2), mode=Mode.SERVICE)
    runs = [
        replica,
        make_run("gang", instance_count=3, asked_at=later(-9)),
        make_run("j", compute=local.id, need=cpus(1)),
    ]
    made = turn(make_state(runs=runs, computes=[local, make_cluster()], allocations=[machine]), heard(machine))
    assert list(placed(made)) == ["j"]
    assert "deployments and other clusters' min_instances keep 2 CPUs" in made.reasons[runs[1].key]


# Replicas


def replica(name: str, *, of: str = "blue", **different: Any) -> Run:
    return make_run(name, owner_id=of, mode=Mode.SERVICE, need=cpus(1), **different)


def test_replicas_of_one_deployment_are_spread_while_others_are_packed() -> None:
    cluster = make_cluster(size=cpus(2), type="inferencecluster", max_instances=2)
    nodes = up(2, compute=cluster)
    here = running("b1", nodes[0], owner_id="blue", mode=Mode.SERVICE, need=cpus(1))
    state = make_state(runs=[here, replica("b2")], computes=[cluster], allocations=nodes)
    assert placed(turn(state, heard(*nodes))) == {"b2": (nodes[1].node,)}
    state = make_state(runs=[here, make_run("j", need=cpus(1))], computes=[cluster], allocations=nodes)
    assert placed(turn(state, heard(*nodes))) == {"j": (nodes[0].node,)}


def test_replicas_that_come_in_one_turn_are_spread_too() -> None:
    cluster = make_cluster(size=cpus(2), type="inferencecluster", max_instances=2)
    nodes = up(2, compute=cluster)
    runs = [replica("b1"), replica("b2"), replica("g1", of="green"), replica("g2", of="green")]
    where = placed(turn(make_state(runs=runs, computes=[cluster], allocations=nodes), heard(*nodes)))
    assert len(where) == 4
    assert where["b1"] != where["b2"]
    assert where["g1"] != where["g2"]


def test_a_replica_that_finds_no_room_has_a_node_made() -> None:
    cluster = make_cluster(type="inferencecluster", max_instances=2)
    nodes = up(1, compute=cluster)
    here = running("b1", nodes[0], owner_id="blue", mode=Mode.SERVICE, need=cpus(1))
    state = make_state(runs=[here, replica("b2")], computes=[cluster], allocations=nodes)
    assert len(added(turn(state, heard(*nodes)))) == 1


# Giving way


def test_the_newest_spot_run_gives_way_to_one_that_waits_for_its_node() -> None:
    nodes = up(2)
    old = running("old", nodes[0], tier=Tier.SPOT, changed_at=later(-60))
    new = running("new", nodes[1], tier=Tier.SPOT, changed_at=later(-1))
    state = make_state(runs=[old, new, make_run("j")], allocations=nodes, computes=[TWO])
    made = turn(state, heard(*nodes))
    assert preempted(made) == ["new"]
    assert made.reasons[make_run("j").key] == "Waits for 1 spot run to give way."


def test_spot_runs_give_way_for_room_on_the_machine_but_no_more_than_it_takes() -> None:
    cheap, dear = make_cluster("c2", tier="low_priority"), make_cluster()
    nodes = up(4, compute=cheap)
    runs = [running(f"s{n}", a, compute=cheap.id, tier=Tier.SPOT, changed_at=later(n)) for n, a in enumerate(nodes)]
    state = make_state(runs=[*runs, make_run("j", instance_count=2)], computes=[cheap, dear], allocations=nodes)
    assert preempted(turn(state, heard(*nodes))) == ["s3", "s2"]


def test_none_gives_way_when_all_together_would_not_make_room() -> None:
    nodes = up(2)
    firm, spot = running("firm", nodes[0]), running("spot", nodes[1], tier=Tier.SPOT)
    gang = make_run("gang", instance_count=2)
    state = make_state(runs=[firm, spot, gang], allocations=nodes, computes=[TWO])
    assert preempted(turn(state, heard(*nodes))) == []


def test_spot_runs_do_not_give_way_to_each_other() -> None:
    nodes = up(2)
    runs = [running(f"s{n}", a, tier=Tier.SPOT) for n, a in enumerate(nodes)]
    state = make_state(runs=[*runs, make_run("j", tier=Tier.SPOT, priority=1)], allocations=nodes, computes=[TWO])
    assert preempted(turn(state, heard(*nodes))) == []


def test_those_on_their_way_out_are_waited_for_and_nobody_else_is_asked() -> None:
    nodes = up(2)
    ending = Ending(cause=Cause.PREEMPTED)
    leaving = running("leaving", nodes[0], tier=Tier.SPOT, status=RunStatus.FINALIZING, ending=ending)
    spot = running("spot", nodes[1], tier=Tier.SPOT)
    state = make_state(runs=[leaving, spot, make_run("j")], allocations=nodes, computes=[TWO])
    assert preempted(turn(state, heard(*nodes))) == []


def test_one_that_gave_way_is_queued_again_at_its_old_place_and_it_counts_as_no_failure() -> None:
    node = up(1)[0]
    ending = Ending(cause=Cause.PREEMPTED, words="Gave way to j.")
    spot = running("spot", node, tier=Tier.SPOT, status=RunStatus.FINALIZING, ending=ending, retries_left=0, losses=3)
    seen = make_seen({node.node: {spot.key: make_report(cause=Cause.STOPPED)}})
    records = plan(make_state(runs=[spot], allocations=[node]), seen, later(1)).records
    record, following = [r for r in records if isinstance(r, RecordRun)]
    assert record.event is RunEvent.GAVE_WAY
    assert record.again is not None
    assert following.run is record.again, "nobody else waits, so it has its node again in the same turn"
    assert (record.again.ordinal, record.again.losses, record.again.asked_at) == (2, 3, spot.asked_at)


def test_one_that_had_ended_before_it_was_asked_to_has_completed() -> None:
    node = up(1)[0]
    ending = Ending(cause=Cause.PREEMPTED, words="Gave way to j.")
    spot = running("spot", node, tier=Tier.SPOT, status=RunStatus.FINALIZING, ending=ending)
    seen = make_seen({node.node: {spot.key: make_report(cause=Cause.COMPLETED)}})
    records = plan(make_state(runs=[spot], allocations=[node]), seen, later(1)).records
    assert [r.event for r in records if isinstance(r, RecordRun)] == [RunEvent.SUCCEEDED]


# Sharing nodes


def test_several_runs_share_a_node_that_they_ask_a_part_of() -> None:
    nodes = up(1, compute=make_cluster(size=cpus(2)))
    runs = [make_run(f"j{n}", need=cpus(0.75)) for n in range(3)]
    state = make_state(runs=runs, allocations=nodes, computes=[make_cluster(size=cpus(2), max_instances=1)])
    assert list(placed(turn(state, heard(*nodes)))) == ["j0", "j1"]


def test_a_run_with_a_whole_node_shares_it_with_nobody() -> None:
    nodes = up(1, compute=make_cluster(size=cpus(2)))
    whole, part = running("whole", nodes[0]), make_run("part", need=cpus(0.5))
    cluster = make_cluster(size=cpus(2), max_instances=1)
    assert placed(turn(make_state(runs=[whole, part], allocations=nodes, computes=[cluster]), heard(*nodes))) == {}
    there, waits = running("part", nodes[0], need=cpus(0.5)), make_run("whole")
    assert placed(turn(make_state(runs=[there, waits], allocations=nodes, computes=[cluster]), heard(*nodes))) == {}


def test_parts_fill_the_fullest_node_first_so_that_whole_nodes_stay_whole() -> None:
    nodes = up(2)
    there = running("there", nodes[1], need=cpus(0.5))
    state = make_state(runs=[there, make_run("j", need=cpus(0.5))], allocations=nodes)
    assert placed(turn(state, heard(*nodes))) == {"j": (nodes[1].node,)}


def test_a_node_that_starts_for_a_part_is_shared_by_those_behind() -> None:
    runs = [make_run(f"j{n}", need=cpus(0.5)) for n in range(3)]
    assert len(added(turn(make_state(runs=runs), heard()))) == 2


def test_gangs_of_parts_have_different_nodes() -> None:
    nodes = up(2)
    state = make_state(runs=[make_run("j", need=cpus(0.25), instance_count=2)], allocations=nodes)
    assert len(set(placed(turn(state, heard(*nodes)))["j"])) == 2


def test_parts_of_a_node_have_gpus_of_their_own() -> None:
    cluster = make_cluster(size=cpus(2, gpus=2))
    node = make_allocation(1, compute=cluster, status=S.UP, gpu_ids=("G0", "G1"))
    first = running("first", node, need=cpus(1, gpus=1), gpu_ids={node.node: ("G0",)})
    state = make_state(
        runs=[first, make_run("j", need=cpus(1, gpus=1))],
        computes=[cluster],
        allocations=[node],
        hosts=[make_host(total=cpus(4, gpus=2), gpu_ids=("G0", "G1"))],
    )
    (record,) = [r for r in turn(state, heard(node)).records if isinstance(r, RecordRun)]
    assert record.changes["gpu_ids"] == {node.node: ("G1",)}


def test_runs_on_the_machine_itself_get_gpus_that_nobody_has() -> None:
    local, cluster = make_local(), make_cluster(size=cpus(1, gpus=1))
    machine = make_allocation(1, compute=local, status=S.UP)
    other = make_allocation(1, compute=cluster, status=S.UP, gpu_ids=("G0",))
    runs = [
        running("busy", other),
        running("first", machine, compute=local.id, need=cpus(1, gpus=1), gpu_ids={machine.node: ("G2",)}),
        make_run("second", compute=local.id, need=cpus(1, gpus=1)),
        make_run("third", compute=local.id, need=cpus(1, gpus=1)),
    ]
    host = make_host(total=cpus(4, gpus=3), gpu_ids=("G0", "G1", "G2"))
    state = make_state(runs=runs, computes=[local, cluster], allocations=[machine, other], hosts=[host])
    records = [r for r in turn(state, heard(machine, other)).records if isinstance(r, RecordRun)]
    assert [r.changes["gpu_ids"] for r in records] == [{machine.node: ("G1",)}]


# Quotas


def over_quota(**limits: Any) -> Any:
    return {"quotas": {"w": Quota(**limits)}}


def test_a_workspace_never_gets_more_nodes_than_its_quota() -> None:
    runs = [make_run(f"j{n}") for n in range(4)]
    made = turn(make_state(runs=runs, **over_quota(nodes=2)), heard())
    assert len(added(made)) == 2
    words = "Workspace w: 1 more nodes are needed, 2 are held, and its quota is 2."
    assert made.reasons[runs[2].key].startswith(words)
    assert made.reasons[runs[3].key] == "Behind j2, which waits for the quota of workspace w."


def test_runs_on_the_machine_itself_count_by_their_cpus() -> None:
    local = make_local()
    machine = make_allocation(1, compute=local, status=S.UP)
    runs = [make_run(f"j{n}", compute=local.id, need=cpus(1)) for n in range(3)]
    state = make_state(runs=runs, computes=[local], allocations=[machine], **over_quota(cpus=2))
    assert list(placed(turn(state, heard(machine)))) == ["j0", "j1"]


def test_another_workspace_is_not_held_up() -> None:
    other = make_cluster("c2", workspace="v")
    runs = [make_run(f"j{n}") for n in range(2)] + [make_run("k", compute=other.id, workspace="v")]
    made = turn(make_state(runs=runs, computes=[make_cluster(), other], **over_quota(nodes=1)), heard())
    assert added(made) == ["e1-c1-1", "e1-c2-1"]


def test_idle_nodes_of_a_workspace_go_when_its_own_work_waits_for_the_quota() -> None:
    other = make_cluster("c2")
    idle = up(2)
    state = make_state(
        runs=[make_run("j", compute=other.id)],
        computes=[make_cluster(), other],
        allocations=idle,
        **over_quota(nodes=2),
    )
    assert drained(turn(state, heard(*idle))) == [idle[0].key]


def test_minimums_heed_the_quota() -> None:
    state = make_state(computes=[make_cluster(min_instances=3)], **over_quota(nodes=2))
    assert len(added(turn(state, heard()))) == 2


# Shrinking


def test_idle_nodes_over_a_lowered_maximum_go_at_once() -> None:
    nodes = up(3)
    cluster = make_cluster(max_instances=1)
    made = turn(make_state(computes=[cluster], allocations=nodes), heard(*nodes))
    assert len(drained(made)) == 2


def test_nodes_with_the_fewest_replicas_are_emptied_when_the_maximum_is_lowered() -> None:
    cluster = make_cluster(size=cpus(2), type="inferencecluster", max_instances=1)
    nodes = up(2, compute=cluster)
    pair = [running(f"b{n}", nodes[0], owner_id="blue", mode=Mode.SERVICE, need=cpus(1)) for n in (1, 2)]
    alone = running("g1", nodes[1], owner_id="green", mode=Mode.SERVICE, need=cpus(1))
    state = make_state(runs=[*pair, alone], computes=[cluster], allocations=nodes)
    assert drained(turn(state, heard(*nodes))) == [nodes[1].key]
    training = make_cluster(size=cpus(2), max_instances=1)
    state = make_state(runs=[*pair, alone], computes=[training], allocations=nodes)
    assert drained(turn(state, heard(*nodes))) == [], "jobs end by themselves"


def test_the_same_state_always_gives_the_same_plan() -> None:
    nodes = up(3)
    runs = [make_run(f"j{n}", user="ab"[n % 2], need=cpus(0.5) if n % 3 else None) for n in range(9)]
    state = make_state(runs=runs, allocations=nodes, nodes=[make_node(a) for a in nodes])
    assert turn(state, heard(*nodes)) == turn(state, heard(*nodes))
    assert ComputeId("c1") in state.compute_of
