"""Who gets nodes, who waits and why; which nodes are made, and which go."""

from tests.factories import (
    NOON,
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
from tests.unit.turns import added, drained, heard, placed, turn, up

from ultramarine.domain.allocation import Allocation, AllocationEvent
from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.compute import ComputeEvent, ComputeStatus
from ultramarine.domain.environment import EnvironmentStatus
from ultramarine.domain.names import ComputeId, NodeKey
from ultramarine.domain.run import Cause, Mode, Run, RunEvent, RunStatus
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import (
    AddAllocation,
    CallAllocate,
    CallForget,
    CallRelease,
    CallSweep,
    RecordAllocation,
    RecordCompute,
    RecordRun,
)
from ultramarine.planning.seen import AllocationNews, NodeNews, Seen
from ultramarine.planning.state import Need

C1 = ComputeId("c1")


# Placement


def test_a_gang_gets_all_its_nodes_or_none() -> None:
    nodes = up(3)
    busy = make_run("busy", status=RunStatus.RUNNING, nodes=(nodes[2].node,))
    runs = [make_run("three", instance_count=3), busy]
    state = make_state(runs=runs, allocations=nodes, computes=[make_cluster(max_instances=3)])
    made = turn(state, heard(*nodes))
    assert (placed(made), added(made)) == ({}, [])
    assert made.reasons[runs[0].key] == "Waits for 3 nodes of cluster-c1: 2 free, 0 starting, at most 3."
    nodes = up(3)
    made = turn(make_state(runs=runs[:1], allocations=nodes), heard(*nodes))
    assert len(set(placed(made)["three"])) == 3


def having(nodes: list[Allocation], *those: int, environment: str = "e1") -> Seen:
    """All heard; `those` have an environment built."""
    news = {
        a.node: NodeNews(heard_at=NOON, environments=frozenset([environment] if n in those else []))
        for n, a in enumerate(nodes)
    }
    return make_seen(nodes=news)


def test_a_node_that_has_the_environment_is_taken_rather_than_one_that_must_build_it() -> None:
    def got(run: Run, *those: int) -> tuple[str, ...]:
        nodes = up(4)
        state = make_state(
            runs=[run], allocations=nodes, computes=[make_cluster(max_instances=4)], wants={run.key: "e1"}
        )
        by_key = {a.node: str(n) for n, a in enumerate(nodes)}
        return tuple(by_key[NodeKey(key)] for key in placed(turn(state, having(nodes, *those)))[run.owner_name])

    assert got(make_run("one")) == ("0",)
    assert got(make_run("one"), 2, 3) == ("2",)
    assert got(make_run("gang", instance_count=2), 1, 3) == ("1", "3")
    assert got(make_run("gang", instance_count=2), 3) == ("3", "0"), "one that has it, and the first of the others"


def test_replicas_are_spread_whoever_has_the_environment() -> None:
    nodes = up(2, capacity=cpus(2))
    runs = [make_run(f"r{n}", mode=Mode.SERVICE, owner_id="d1", need=cpus(1)) for n in (1, 2)]
    state = make_state(runs=runs, allocations=nodes, wants={run.key: "e1" for run in runs})
    got = placed(turn(state, having(nodes, 1)))
    assert (got["r1"], got["r2"]) == ((nodes[1].node,), (nodes[0].node,))


def test_those_behind_a_waiting_gang_do_not_pass_it_on_its_compute() -> None:
    nodes = up(2)
    busy = make_run("busy", status=RunStatus.RUNNING, nodes=(nodes[1].node,))
    runs = [make_run("gang", instance_count=2), make_run("small"), busy]
    state = make_state(runs=runs, allocations=nodes, computes=[make_cluster(max_instances=2)])
    made = turn(state, heard(*nodes))
    assert placed(made) == {}
    assert made.reasons[runs[1].key] == "In the queue of cluster-c1, behind others."


def test_those_on_another_compute_pass() -> None:
    other = make_cluster("c2")
    node = make_allocation(1, compute=other, status=S.UP)
    runs = [make_run("gang", instance_count=4), make_run("small", compute=other.id)]
    state = make_state(
        runs=runs, computes=[make_cluster(), other], allocations=[node], hosts=[make_host(total=cpus(5))]
    )
    assert placed(turn(state, heard(node))) == {"small": (node.node,)}


def test_a_run_waits_for_its_environment_and_holds_up_nobody() -> None:
    nodes = up(1)
    runs = [make_run("slow"), make_run("ready")]
    needs = {runs[0].key: Need(name="e:1", status=EnvironmentStatus.RESOLVING)}
    made = turn(make_state(runs=runs, allocations=nodes, environments=needs), heard(*nodes))
    assert list(placed(made)) == ["ready"]
    assert made.reasons[runs[0].key] == "Environment e:1 is being resolved."


def test_what_can_never_run_fails_with_its_reason() -> None:
    runs = [make_run("broken"), make_run("gone", compute=ComputeId("c9")), make_run("large", instance_count=9)]
    needs = {runs[0].key: Need(name="e:1", status=EnvironmentStatus.FAILED, reason="No such package.")}
    made = turn(make_state(runs=runs, environments=needs), heard())
    said = {r.run.owner_name: r.reason for r in made.records if isinstance(r, RecordRun)}
    assert said == {
        "broken": "Environment e:1: No such package.",
        "gone": "Its compute was deleted.",
        "large": "It needs 9 nodes, and cluster-c1 has max_instances 4 now.",
    }


def test_a_node_that_is_silent_or_unheard_gets_no_work() -> None:
    nodes = up(2)
    runs = [make_run("j")]
    made = turn(make_state(runs=runs, allocations=nodes), heard(nodes[0]), seconds=16)
    assert placed(made) == {}


def test_a_node_on_which_something_still_lives_gets_no_work() -> None:
    nodes = up(1)
    seen = make_seen({nodes[0].node: {make_run("old").key: make_report("running")}})
    assert placed(turn(make_state(runs=[make_run("j")], allocations=nodes), seen)) == {}


def test_a_node_whose_runner_has_lost_its_other_half_gets_no_work() -> None:
    nodes = up(1)
    seen = make_seen({nodes[0].node: {make_run("old").key: make_report(cause=Cause.RUNNER)}})
    assert placed(turn(make_state(runs=[make_run("j")], allocations=nodes), seen)) == {}


def test_runs_on_the_machine_itself_claim_what_they_need_of_it() -> None:
    local = make_local()
    node = make_allocation(1, compute=local, status=S.UP)
    runs = [make_run(f"j{n}", compute=local.id, need=cpus(1)) for n in range(6)]
    state = make_state(runs=runs, computes=[local], allocations=[node])
    made = turn(state, heard(node))
    assert list(placed(made)) == ["j0", "j1", "j2", "j3"]
    assert [host.name for host in made.hosts] == ["local"], "the copy of the host that this rests on"
    assert "this machine has 0 CPUs" in made.reasons[runs[4].key]


def test_what_ends_makes_room_in_the_same_turn() -> None:
    node = make_allocation(1, status=S.UP)
    ending = make_run("ending", status=RunStatus.RUNNING, nodes=(node.node,))
    seen = make_seen({node.node: {ending.key: make_report(cause=Cause.COMPLETED)}})
    made = turn(make_state(runs=[ending, make_run("waiting")], allocations=[node]), seen)
    assert placed(made) == {"waiting": (node.node,)}
    assert [used.key for used in made.nodes] == [node.node], "once, whatever was decided on it"


def test_the_next_attempt_takes_the_place_of_its_priority_in_the_same_turn() -> None:
    node = make_allocation(1, status=S.UP)
    failing = make_run("failing", status=RunStatus.RUNNING, nodes=(node.node,), retries_left=1, priority=5)
    seen = make_seen({node.node: {failing.key: make_report(cause=Cause.EXITED)}})
    made = turn(make_state(runs=[failing, make_run("low", priority=1)], allocations=[node]), seen)
    assert [r.run.ordinal for r in made.records if isinstance(r, RecordRun)] == [1, 2]
    assert placed(made) == {"failing": (node.node,)}


# Growing


def test_a_cluster_grows_by_what_waits_up_to_its_maximum() -> None:
    runs = [make_run(f"j{n}") for n in range(9)]
    made = turn(make_state(runs=runs, computes=[make_cluster(max_instances=3)]), heard())
    assert added(made) == ["e1-c1-1", "e1-c1-2", "e1-c1-3"]
    versions = [r.compute.version for r in made.records if isinstance(r, AddAllocation)]
    assert versions == [1, 2, 3], "each is written after the one before"


def test_a_cluster_keeps_its_minimum() -> None:
    assert len(added(turn(make_state(computes=[make_cluster(min_instances=2)]), heard()))) == 2


def test_nodes_that_start_are_counted() -> None:
    starting = [make_allocation(1, status=S.STARTING)]
    assert added(turn(make_state(runs=[make_run("j")], allocations=starting), heard())) == []


def test_a_node_that_has_said_hello_and_not_yet_reported_is_waited_for_and_no_other_is_made() -> None:
    nodes = up(1)
    state = make_state(runs=[make_run("j")], allocations=nodes, computes=[make_cluster(allocations_made=1)])
    greeted = make_seen(greeted_at={nodes[0].node: later(100)})
    made = turn(state, greeted, 101)
    assert (placed(made), added(made)) == ({}, [])
    assert made.reasons[state.runs[0].key] == "1 node of cluster-c1 is starting."
    assert added(turn(state, greeted, 116)) == ["e1-c1-2"], "it is silent: nobody counts on it any more"


def test_nodes_that_a_new_server_has_not_heard_yet_are_waited_for() -> None:
    state = make_state(runs=[make_run("j")], allocations=up(1))
    assert added(turn(state, make_seen(listening_since=later(100)), 101)) == []


def test_a_host_is_never_over_committed() -> None:
    clusters = [make_cluster("c1", max_instances=9), make_cluster("c2", max_instances=9)]
    runs = [make_run(f"j{n}", compute=ComputeId(f"c{1 + n % 2}")) for n in range(12)]
    made = turn(make_state(runs=runs, computes=clusters), heard())
    assert len(added(made)) == 4
    assert made.hosts


def test_each_node_gets_gpus_of_its_own() -> None:
    host = make_host(total=cpus(4, gpus=2), gpu_ids=("G0", "G1"))
    cluster = make_cluster(size=cpus(1, gpus=1))
    state = make_state(runs=[make_run(f"j{n}") for n in range(3)], computes=[cluster], hosts=[host])
    made = [r.allocation.gpu_ids for r in turn(state, heard()).records if isinstance(r, AddAllocation)]
    assert made == [("G0",), ("G1",)]


def test_a_gpu_of_an_ended_node_is_given_again() -> None:
    host = make_host(total=cpus(4, gpus=1), gpu_ids=("G0",))
    cluster = make_cluster(size=cpus(1, gpus=1))
    over = make_allocation(1, compute=cluster, status=S.ENDED, gpu_ids=("G0",))
    state = make_state(runs=[make_run("j")], computes=[cluster], hosts=[host], allocations=[over])
    made = [r.allocation.gpu_ids for r in turn(state, heard()).records if isinstance(r, AddAllocation)]
    assert made == [("G0",)]


def test_the_machines_own_node_is_made_when_a_run_waits_and_claims_nothing_itself() -> None:
    local = make_local()
    runs = [make_run(f"j{n}", compute=local.id, need=cpus(1)) for n in range(3)]
    records = turn(make_state(runs=runs, computes=[local]), heard()).records
    made = [r.allocation for r in records if isinstance(r, AddAllocation)]
    assert [(a.claim, a.is_elastic) for a in made] == [(Amount(), True)]


def test_failing_starts_are_tried_again_ever_more_slowly_and_the_reason_is_told() -> None:
    failed = [make_allocation(n, status=S.FORGOTTEN, reason="No hello.", changed_at=later(n)) for n in range(1, 4)]
    run = make_run("j")
    state = make_state(runs=[run], failed_starts=failed)
    early = turn(state, heard(), seconds=6)
    assert added(early) == []
    assert "fail to start: No hello. The next try is at 12:00:07 UTC." in early.reasons[run.key]
    assert len(added(turn(state, heard(), seconds=7))) == 1


# Shrinking


def test_idle_nodes_go_after_their_idle_time_the_longest_idle_first() -> None:
    nodes = up(2)
    state = make_state(computes=[make_cluster(idle_time_before_scale_down=60)], allocations=nodes)
    assert drained(turn(state, heard(*nodes, at=later(55)), seconds=59)) == []
    assert drained(turn(state, heard(*nodes, at=later(55)), seconds=60)) == [a.key for a in nodes]


def test_never_below_the_minimum() -> None:
    nodes = up(2)
    cluster = make_cluster(idle_time_before_scale_down=0, min_instances=1)
    assert len(drained(turn(make_state(computes=[cluster], allocations=nodes), heard(*nodes)))) == 1


def test_as_many_idle_nodes_go_at_once_as_somebody_waits_for_their_room() -> None:
    idle = [make_allocation(n, status=S.UP) for n in range(1, 5)]
    other = make_cluster("c2")
    waiting = make_run("j", compute=other.id, instance_count=2)
    made = turn(make_state(runs=[waiting], computes=[make_cluster(), other], allocations=idle), heard(*idle))
    assert len(drained(made)) == 2
    assert "nodes of cluster-c1 (4 nodes) hold most of it" in made.reasons[waiting.key]


def test_two_gangs_never_wait_for_each_others_nodes() -> None:
    """Each cluster has two idle nodes of the machine's four and waits for three."""
    one, two = make_cluster("c1"), make_cluster("c2")
    nodes = [make_allocation(n, compute=c, status=S.UP) for c in (one, two) for n in (1, 2)]
    runs = [make_run("first", instance_count=3), make_run("second", instance_count=3, compute=two.id)]
    made = turn(make_state(runs=runs, computes=[one, two], allocations=nodes), heard(*nodes))
    assert drained(made) == ["e1-c2-1"], "as much as the first one misses"
    assert made.reasons[runs[1].key] == "Behind first, which waits for room on this machine."


def test_a_node_that_has_just_got_work_stays_and_both_decisions_rest_on_its_copy() -> None:
    nodes = up(2)
    cluster = make_cluster(idle_time_before_scale_down=0)
    made = turn(make_state(runs=[make_run("j")], computes=[cluster], allocations=nodes), heard(*nodes))
    assert set(drained(made)) == {a.key for a in nodes if (a.node,) != placed(made)["j"]}
    assert {node.key for node in made.nodes} == {a.node for a in nodes}


def test_a_node_whose_lease_is_over_is_drained_behind_the_same_fence() -> None:
    nodes = up(1)
    made = turn(make_state(allocations=nodes), heard(*nodes), seconds=316)
    assert drained(made) == [nodes[0].key]
    assert [node.key for node in made.nodes] == [nodes[0].node]


def test_while_the_service_is_being_stopped_nothing_begins_and_idle_nodes_go() -> None:
    nodes = up(1)
    seen = heard(*nodes, is_draining=True)
    made = turn(make_state(runs=[make_run("j")], computes=[make_cluster(min_instances=1)], allocations=nodes), seen)
    assert (placed(made), added(made), drained(made)) == ({}, [], [nodes[0].key])


# Allocations


def test_a_start_that_takes_too_long_is_given_up() -> None:
    starting = make_allocation(1, status=S.STARTING)
    assert drained(turn(make_state(allocations=[starting]), heard(), seconds=60)) == []
    assert drained(turn(make_state(allocations=[starting]), heard(), seconds=61)) == [starting.key]


def test_each_status_asks_its_driver_for_what_is_next() -> None:
    allocations = [make_allocation(n, status=s) for n, s in enumerate((S.WANTED, S.RELEASING, S.ENDED, S.STARTING))]
    effects = turn(make_state(allocations=allocations), heard()).effects
    assert [type(effect) for effect in effects] == [CallAllocate, CallRelease, CallForget]


def test_an_ended_node_is_not_forgotten_before_its_run_has_ended() -> None:
    over = make_allocation(1, status=S.ENDED)
    run = make_run("j", status=RunStatus.RUNNING, nodes=(over.node,))
    assert turn(make_state(runs=[run], allocations=[over], nodes=[]), heard()).effects == ()


def test_what_no_row_knows_is_ended_then_forgotten() -> None:
    stray = make_allocation(7).key
    for state, is_over in (("up", False), ("ended", True)):
        seen = make_seen(allocations={stray: AllocationNews(state=state)})  # pyright: ignore[reportArgumentType]
        assert turn(make_state(), seen).effects == (CallSweep(key=stray, is_over=is_over),)


def test_a_draining_node_is_released_when_nothing_is_on_it() -> None:
    node = make_allocation(1, status=S.DRAINING)
    run = make_run("j", status=RunStatus.RUNNING, nodes=(node.node,))
    seen = make_seen({node.node: {run.key: make_report("running")}})
    assert turn(make_state(runs=[run], allocations=[node]), seen).records == ()
    records = turn(make_state(allocations=[node]), heard(node)).records
    events = [r.event for r in records if isinstance(r, RecordAllocation)]
    assert events == [AllocationEvent.RELEASE_ASKED]


def test_a_compute_that_is_deleted_ends_its_runs_then_its_nodes_then_itself() -> None:
    gone = make_cluster(status=ComputeStatus.DELETING)
    node = make_allocation(1, status=S.UP)
    run = make_run("j", status=RunStatus.RUNNING, nodes=(node.node,))
    made = turn(make_state(runs=[run], computes=[gone], allocations=[node]), heard(node))
    assert [r.event for r in made.records if isinstance(r, RecordRun)] == [RunEvent.CANCEL_ASKED]
    assert drained(turn(make_state(computes=[gone], allocations=[node]), heard(node))) == [node.key]
    last = turn(make_state(computes=[gone]), heard()).records
    assert [r.event for r in last if isinstance(r, RecordCompute)] == [ComputeEvent.EMPTIED]


def test_a_node_that_has_just_said_hello_has_a_full_lease_before_it_is_judged() -> None:
    node = make_allocation(status=S.UP)
    state = make_state(allocations=[node], nodes=[make_node(node, used_at=later(1300))])
    greeted = make_seen(greeted_at={node.node: later(1000)})
    assert drained(turn(state, greeted, 1001)) == []
    assert drained(turn(state, greeted, 1316)) == [node.key]
