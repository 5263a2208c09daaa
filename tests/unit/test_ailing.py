"""Nodes that are sick, and targets that do not give them."""

from dataclasses import replace

import pytest
from tests.factories import NOON, later, make_allocation, make_cluster, make_run, make_seen, make_state

from ultramarine.domain.allocation import Allocation, AllocationEvent
from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.host import ENDLESS, Host
from ultramarine.planning.actions import CallAllocate, CallRelease, RecordAllocation
from ultramarine.planning.seen import Refusal, Seen

from .turns import added, drained, heard, placed, turn, up

FULL = "its disk is full: 3 MB free at /data, of which 67 MB are kept free."
ELSEWHERE = Host(name="ray", pool="ray", is_bounded=False, total=ENDLESS)


def ailing(*nodes: Allocation, sick: int) -> Seen:
    """`nodes` were just heard; the first `sick` of them say that their disk is full."""
    seen = heard(*nodes)
    full = {node.node for node in nodes[:sick]}
    return replace(
        seen, nodes={key: replace(news, ails=FULL if key in full else "") for key, news in seen.nodes.items()}
    )


# Full disks


def test_a_node_whose_disk_is_full_gets_no_work_and_says_so() -> None:
    [node], run = up(1), make_run("j")
    made = turn(make_state(runs=[run], allocations=[node]), ailing(node, sick=1))
    assert placed(made) == {}
    assert made.reasons[run.key] == f"No node is started on this machine as long as {FULL}"
    assert added(made) == []


def test_work_goes_to_a_node_beside_it() -> None:
    nodes, run = up(2), make_run("j")
    assert placed(turn(make_state(runs=[run], allocations=nodes), ailing(*nodes, sick=1))) == {"j": (nodes[1].node,)}


def test_on_this_machine_it_stays_since_any_other_would_have_the_same_disk() -> None:
    nodes = up(1)
    assert drained(turn(make_state(allocations=nodes), ailing(*nodes, sick=1))) == []


def test_on_machines_of_others_it_is_replaced_after_a_rest() -> None:
    [node] = up(1, host=ELSEWHERE.name)
    cluster, run = make_cluster(host=ELSEWHERE.name, max_instances=1), make_run("j")
    state = make_state(runs=[run], computes=[cluster], allocations=[node], hosts=[ELSEWHERE])
    made = turn(state, ailing(node, sick=1))
    [record] = [r for r in made.records if isinstance(r, RecordAllocation)]
    assert record.event is AllocationEvent.FOUND_SICK
    gone = replace(record.allocation.after(record.event, now=NOON, reason=record.reason), status=S.FORGOTTEN)
    assert gone.up_at is None, "it counts among the starts that failed"
    after = make_state(runs=[run], computes=[cluster], hosts=[ELSEWHERE], failed_starts=[gone])
    assert added(turn(after, heard(), seconds=0.5)) == []
    assert len(added(turn(after, heard(), seconds=1))) == 1


# Silence


@pytest.mark.parametrize(("holds_work", "goes"), [(False, True), (True, False)])
def test_a_silent_node_is_replaced_at_once_when_nothing_runs_on_it(holds_work: bool, goes: bool) -> None:
    [node] = up(1)
    there = make_run("there", status="Running", nodes=(node.node,))
    state = make_state(runs=[there] if holds_work else [], allocations=[node])
    assert bool(drained(turn(state, heard(node), seconds=20))) is goes


# Targets that refuse


def refused(allocation: Allocation, *, times: int = 3) -> Seen:
    refusal = Refusal(words="No machine of this kind is left in the zone.", times=times, at=later(10))
    return make_seen(refusals={allocation.key: refusal})


def asks(seen: Seen, allocation: Allocation, seconds: float) -> bool:
    """Whether the target is asked for it in that turn, by somebody who needs it."""
    state = make_state(runs=[make_run("j")], allocations=[allocation])
    return any(isinstance(effect, CallAllocate) for effect in turn(state, seen, seconds).effects)


def test_a_target_that_failed_is_asked_again_ever_more_slowly() -> None:
    wanted = make_allocation(1)
    assert [asks(refused(wanted), wanted, seconds) for seconds in (10, 11.9, 12)] == [False, False, True]
    assert [asks(refused(wanted, times=50), wanted, seconds) for seconds in (39.9, 40)] == [False, True]


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    wanted = make_allocation(1)
    assert asks(refused(wanted), wanted, 9)


def test_who_waits_is_told_the_targets_own_words() -> None:
    wanted, run = make_allocation(1), make_run("j")
    made = turn(make_state(runs=[run], allocations=[wanted]), refused(wanted), seconds=11)
    assert made.reasons[run.key] == (
        "1 node of cluster-c1 is starting. Asked 3 times in vain, again at 12:00:12 UTC: "
        "No machine of this kind is left in the zone."
    )


def test_a_node_that_is_not_given_goes_when_nobody_waits_for_it_any_more() -> None:
    wanted = make_allocation(1)
    state = make_state(computes=[make_cluster(idle_time_before_scale_down=60)], allocations=[wanted])
    assert drained(turn(state, refused(wanted), seconds=59)) == []
    assert drained(turn(state, refused(wanted), seconds=60)) == [wanted.key]
    assert drained(turn(state, make_seen(), seconds=60)) == [], "one that is merely on its way stays"


def test_a_release_that_failed_waits_as_well() -> None:
    going = make_allocation(1, status=S.RELEASING)
    state = make_state(allocations=[going])
    told = [
        any(isinstance(effect, CallRelease) for effect in turn(state, refused(going), seconds).effects)
        for seconds in (11, 12)
    ]
    assert told == [False, True]
