"""How many replicas a deployment gets, when it has come up, when it is given up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.factories import EPOCH, NOON, cpus, later, make_run

from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentSpec, DeploymentStatus
from ultramarine.domain.names import ComputeId, RunKey
from ultramarine.domain.run import Cause, Ending, Mode, OwnerNoun, Run, RunEvent, RunStatus
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.deployments import Action, AddReplica, RecordDeployment, Standing, TakeBack, TakeOut, plan


def make_deployment(*, instance_count: int = 1, **different: Any) -> Deployment:
    spec = DeploymentSpec(name="blue", endpoint_name="cancer", model="forest:1", instance_count=instance_count)
    plain = Deployment(
        id="d1",
        workspace="w",
        endpoint="cancer",
        name="blue",
        spec=spec,
        serving={"model": {"name": "forest", "version": "1", "snapshot": "0" * 64}},
        created_at=NOON,
        changed_at=NOON,
    )
    return replace(plain, **different)


def make_replica(number: int = 1, **different: Any) -> Run:
    owner = {"owner_noun": OwnerNoun.DEPLOYMENT, "owner_id": "d1", "mode": Mode.SERVICE}
    return make_run("d1", ordinal=number, **{**owner, "status": RunStatus.RUNNING, **different})


def failed(number: int, *, cause: Cause = Cause.EXITED, code: int = 1, at_s: float = 1) -> Run:
    ending = Ending(cause=cause, code=code, words=f"It exited with code {code}.", tail="the last line")
    return make_replica(number, status=RunStatus.FAILED, ending=ending, ended_at=later(at_s), changed_at=later(at_s))


def planned(
    deployment: Deployment,
    *runs: Run,
    reached: tuple[Run, ...] = (),
    leaving: Mapping[int, float] | None = None,
    named: tuple[Run, ...] = (),
    dead: Mapping[int, str] | None = None,
    displaced: tuple[Run, ...] = (),
    at_s: float = 10,
) -> list[Action]:
    """`leaving`: by a replica's number, since which second."""
    standing = Standing(
        deployment=deployment,
        runs=runs,
        reached=frozenset(RunKey(run.key) for run in reached),
        named=frozenset(RunKey(run.key) for run in named),
        dead={make_replica(number).key: why for number, why in (dead or {}).items()},
        displaced={run.key: "inf has max_instances 1 now." for run in displaced},
        leaving={make_replica(number).key: later(since) for number, since in (leaving or {}).items()},
        compute=ComputeId("local"),
        need=cpus(1),
    )
    return list(plan(standing, later(at_s), epoch=EPOCH))


def test_a_new_deployment_gets_a_replica_with_a_number_of_its_own():
    [added] = planned(make_deployment(replicas_made=3))
    assert isinstance(added, AddReplica)
    assert (added.run.key, added.run.ordinal, added.deployment.replicas_made) == (f"{EPOCH}-d1-4", 4, 4)


def test_it_has_come_up_when_the_gateway_reaches_every_replica():
    first, second = make_replica(1), make_replica(2)
    two = make_deployment(instance_count=2)
    assert planned(two, first, second, reached=(first,)) == []
    [up] = planned(two, first, second, reached=(first, second))
    assert isinstance(up, RecordDeployment)
    assert up.event is DeploymentEvent.ALL_ANSWER


def test_a_silent_replica_is_replaced_at_once():
    [added] = planned(make_deployment(status=DeploymentStatus.SUCCEEDED), make_replica(status=RunStatus.NOT_RESPONDING))
    assert isinstance(added, AddReplica)


UP = DeploymentStatus.SUCCEEDED


def of(kind: type[Action], actions: list[Action]) -> list[int]:
    """The replicas, by number, to which something is done."""
    return [
        action.run.ordinal
        for action in actions
        if isinstance(action, kind) and not isinstance(action, RecordDeployment)
    ]


def canceled(actions: list[Action]) -> list[int]:
    assert all(action.event is RunEvent.CANCEL_ASKED for action in actions if isinstance(action, RecordRun))
    return of(RecordRun, actions)


def test_the_newest_leave_first_when_fewer_are_wanted():
    replicas = [make_replica(number) for number in (1, 2, 3)]
    assert of(TakeOut, planned(make_deployment(status=UP), *replicas, reached=tuple(replicas))) == [2, 3]


def test_those_that_do_not_answer_leave_before_those_that_do():
    replicas = [make_replica(number) for number in (1, 2, 3)]
    two = make_deployment(status=UP, instance_count=2)
    assert of(TakeOut, planned(two, *replicas, reached=(replicas[0], replicas[2]))) == [2]


def test_one_that_has_not_begun_ends_at_once_when_it_is_not_wanted():
    waiting = make_replica(2, status=RunStatus.QUEUED)
    assert canceled(planned(make_deployment(status=UP), make_replica(1), waiting)) == [2]


def test_one_that_leaves_ends_when_no_request_can_be_under_way_to_it():
    stays, leaves = make_replica(1), make_replica(2)
    up = make_deployment(status=UP)  # its requests take 5 s at most
    assert planned(up, stays, leaves, reached=(stays,), leaving={2: 0}, at_s=4.9) == []
    assert canceled(planned(up, stays, leaves, reached=(stays,), leaving={2: 0}, at_s=5)) == [2]


def test_one_that_a_gateway_still_names_is_waited_for_but_not_for_ever():
    stays, leaves = make_replica(1), make_replica(2)
    up = make_deployment(status=UP)
    given: Any = {"reached": (stays,), "leaving": {2: 0.0}, "named": (stays, leaves)}
    assert planned(up, stays, leaves, **given, at_s=34) == []
    assert canceled(planned(up, stays, leaves, **given, at_s=35)) == [2]


def test_one_that_leaves_comes_back_when_it_is_wanted_again():
    stays, leaves = make_replica(1), make_replica(2)
    two = make_deployment(status=UP, instance_count=2)
    assert of(TakeBack, planned(two, stays, leaves, reached=(stays,), leaving={2: 9})) == [2]


def test_the_first_replica_of_a_new_deployment_is_tried_alone():
    three = make_deployment(instance_count=3)
    first = make_replica(1)
    assert planned(three, first) == []
    assert len(planned(three, first, reached=(first,))) == 1
    assert len(planned(replace(three, status=DeploymentStatus.UPDATING, came_up=True), first)) == 1


def test_one_whose_node_is_to_go_stays_until_another_answers_in_its_place():
    stays, moves, fresh = (make_replica(number) for number in (1, 2, 3))
    two = make_deployment(status=UP, instance_count=2)
    both: Any = {"displaced": (moves,)}
    [added] = planned(two, stays, moves, reached=(stays, moves), **both)
    assert isinstance(added, AddReplica)
    assert planned(two, stays, moves, fresh, reached=(stays, moves), **both) == []
    assert of(TakeOut, planned(two, stays, moves, fresh, reached=(stays, moves, fresh), **both)) == [2]
    left: Any = {"leaving": {2: 0}, "reached": (stays, fresh), **both}
    assert planned(two, stays, moves, fresh, **left, at_s=4.9) == []
    [ended] = planned(two, stays, moves, fresh, **left, at_s=5)
    assert isinstance(ended, RecordRun)
    assert (ended.run, ended.reason) == (moves, "Its node is to go: inf has max_instances 1 now.")


def test_one_whose_node_is_to_go_goes_though_there_is_no_room_for_another_and_does_not_come_back():
    stays, moves = make_replica(1), make_replica(2)
    waits = make_replica(3, status=RunStatus.QUEUED, created_at=later(10))
    two = make_deployment(status=UP, instance_count=2)
    given: Any = {"reached": (stays, moves), "displaced": (moves,)}
    assert planned(two, stays, moves, waits, **given, at_s=24) == []
    assert of(TakeOut, planned(two, stays, moves, waits, **given, at_s=25)) == [2]
    assert canceled(planned(two, stays, moves, waits, **given, leaving={2: 25}, at_s=31)) == [2]
    [added] = planned(two, stays, moves, **given, leaving={2: 25}, at_s=26)
    assert isinstance(added, AddReplica), "not taken back"


def test_a_deployment_that_had_never_come_up_is_tried_anew_with_one_replica_and_at_once():
    again = make_deployment(status=DeploymentStatus.UPDATING, instance_count=2, changed_at=later(2))
    before = [failed(number, at_s=1) for number in (1, 2, 3)]
    [added] = planned(again, *before, at_s=2.1)
    assert isinstance(added, AddReplica)
    assert planned(again, *before, make_replica(4), at_s=3) == []
    [given_up] = planned(again, *before, failed(4, code=3, at_s=3), at_s=3)
    assert isinstance(given_up, RecordDeployment)
    assert given_up.reason.startswith("Replica 4: ")


def test_why_a_change_has_failed_is_said_while_what_goes_on_follows_the_requests():
    broken = make_deployment(status=DeploymentStatus.FAILED, came_up=True, reason="Replica 2: no luck.")
    assert broken.goes_on
    assert not replace(broken, came_up=False).goes_on
    scaled = broken.after(DeploymentEvent.SCALED, now=later(1), reason="3 instead of 1.")
    assert (scaled.status, scaled.reason) == (DeploymentStatus.FAILED, "Replica 2: no luck.")
    asked = scaled.after(DeploymentEvent.CHANGE_ASKED, now=later(2), reason="Asked by user.")
    assert (asked.status, asked.reason) == (DeploymentStatus.UPDATING, "Asked by user.")


def test_while_a_change_is_under_way_what_goes_on_follows_the_requests_and_failures_still_count():
    changing = make_deployment(status=DeploymentStatus.UPDATING, came_up=True, reason="Asked by user.")
    assert changing.goes_on
    assert not replace(changing, came_up=False).goes_on
    scaled = changing.after(DeploymentEvent.SCALED, now=later(5), reason="3 instead of 1.")
    assert (scaled.status, scaled.reason) == (DeploymentStatus.UPDATING, "3 instead of 1.")
    fails = [failed(number, at_s=number) for number in (1, 2, 3)]
    [given_up] = planned(scaled, *fails)
    assert isinstance(given_up, RecordDeployment)
    assert given_up.event is DeploymentEvent.GAVE_UP


def test_as_many_as_the_requests_need_are_kept_where_they_say_it():
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 4}
    elastic = DeploymentSpec.model_validate(
        make_deployment().spec.body() | {"scale_settings": scale, "instance_count": 1}
    )
    up = make_deployment(status=UP, spec=elastic, replicas_wanted=2)
    first, second = make_replica(1), make_replica(2)
    assert len(planned(up, first)) == 1
    assert planned(up, first, second) == []
    assert of(TakeOut, planned(replace(up, replicas_wanted=0), first, second)) == [1, 2]


def test_a_change_that_fails_takes_nothing_away_and_what_dies_is_still_replaced():
    changing = make_deployment(status=DeploymentStatus.UPDATING, instance_count=2, came_up=True)
    old = make_replica(1)
    [given_up] = planned(changing, old, failed(2, code=3), reached=(old,))
    assert isinstance(given_up, RecordDeployment)
    assert given_up.event is DeploymentEvent.GAVE_UP
    after = replace(changing, status=DeploymentStatus.FAILED)
    assert of(TakeOut, planned(after, old, failed(2, code=3, at_s=9), reached=(old,), at_s=9.5)) == []
    assert isinstance(planned(after, failed(2, code=3), at_s=100)[0], AddReplica)


def test_one_whose_change_had_failed_has_succeeded_when_as_many_answer_as_are_wanted():
    here = make_replica(1)
    [up] = planned(make_deployment(status=DeploymentStatus.FAILED, came_up=True), here, reached=(here,))
    assert isinstance(up, RecordDeployment)
    assert up.event is DeploymentEvent.ALL_ANSWER


@pytest.mark.parametrize("hopeless", [failed(1, cause=Cause.ENVIRONMENT), failed(1, code=3)])
def test_what_can_never_come_up_is_given_up_at_once_with_the_end_of_its_log(hopeless: Run):
    [given_up] = planned(make_deployment(), hopeless)
    assert isinstance(given_up, RecordDeployment)
    assert given_up.event is DeploymentEvent.GAVE_UP
    assert given_up.reason.endswith("the last line")


def test_the_last_50_lines_of_its_log_are_in_the_reason():
    ending = Ending(cause=Cause.EXITED, code=3, words="It exited.", tail="\n".join(str(n) for n in range(70)))
    [given_up] = planned(make_deployment(), replace(failed(1), ending=ending))
    assert isinstance(given_up, RecordDeployment)
    assert given_up.reason.splitlines() == ["Replica 1: It exited.", *(str(n) for n in range(20, 70))]


def test_what_its_liveness_probe_has_given_up_is_ended_and_then_replaced():
    hangs, lives = make_replica(1), make_replica(2)
    two = make_deployment(status=UP, instance_count=2)
    assert canceled(planned(two, hangs, lives, reached=(hangs, lives), dead={1: "no answer in 2 s"})) == [1]
    ending = replace(hangs, status=RunStatus.CANCEL_REQUESTED)
    assert isinstance(planned(two, ending, lives, reached=(lives,), dead={1: "no answer in 2 s"})[0], AddReplica)


def test_when_most_look_dead_at_once_they_are_replaced_a_few_at_a_time():
    four = make_deployment(status=UP, instance_count=4)
    one, two, three, other = there = [make_replica(number) for number in (1, 2, 3, 4)]
    dead: dict[int, str] = dict.fromkeys((1, 2, 3, 4), "no answer in 2 s")
    assert canceled(planned(four, *there, reached=(), dead=dead)) == [1, 2]
    assert not canceled(planned(four, three, other, dead=dead)), "their places are to be filled first"
    fresh = [make_replica(5), make_replica(6)]
    assert not canceled(planned(four, three, other, *fresh, dead=dead)), "they are to answer first"
    assert canceled(planned(four, three, other, *fresh, reached=(*fresh,), dead=dead)) == [3, 4]
    assert not canceled(planned(four, one, two, *fresh, reached=(*fresh, one, two))), "they live again"


def test_what_fails_otherwise_is_tried_three_times():
    assert isinstance(planned(make_deployment(), failed(1), failed(2))[0], AddReplica)
    [given_up] = planned(make_deployment(), failed(1), failed(2), failed(3))
    assert isinstance(given_up, RecordDeployment)
    assert given_up.event is DeploymentEvent.GAVE_UP


def test_one_that_had_come_up_is_never_given_up_but_its_replicas_come_ever_more_slowly():
    up = make_deployment(status=DeploymentStatus.SUCCEEDED)
    failures = [failed(number, at_s=number) for number in range(1, 7)]
    assert planned(up, *failures, at_s=20) == []
    assert isinstance(planned(up, *failures, at_s=40)[0], AddReplica)


def test_a_lost_node_is_no_reason_to_wait_or_to_give_up():
    lost = [failed(number, cause=Cause.NODE_LOST, at_s=9) for number in range(1, 7)]
    [added] = planned(make_deployment(), *lost)
    assert isinstance(added, AddReplica)


@pytest.mark.parametrize("status", [DeploymentStatus.FAILED, DeploymentStatus.DELETING])
def test_nothing_runs_for_one_that_is_given_up_or_deleted(status: DeploymentStatus):
    assert of(TakeOut, planned(make_deployment(status=status), make_replica())) == [1]
    assert canceled(planned(make_deployment(status=status), make_replica(), leaving={1: 0})) == [1]


def test_it_is_gone_when_its_last_replica_has_ended():
    going = make_deployment(status=DeploymentStatus.DELETING)
    assert planned(going, make_replica(status=RunStatus.CANCEL_REQUESTED)) == []
    [gone] = planned(going, make_replica(status=RunStatus.CANCELED, ended_at=NOON))
    assert isinstance(gone, RecordDeployment)
    assert gone.event is DeploymentEvent.REPLICAS_ENDED


def renewing(*, instance_count: int = 2, old: int = 2, **different: Any) -> Deployment:
    """One whose first replicas are of before a change that takes new ones."""
    plain = {"status": DeploymentStatus.UPDATING, "came_up": True, "replicas_made": old, "replicas_old": old}
    return make_deployment(instance_count=instance_count, **(plain | different))


def test_a_change_that_takes_new_replicas_begins_with_one_more():
    first, second = make_replica(1), make_replica(2)
    [added] = planned(renewing(), first, second, reached=(first, second))
    assert isinstance(added, AddReplica)
    assert added.run.ordinal == 3


def test_an_old_one_leaves_when_the_new_one_answers_and_not_before():
    first, second, third = (make_replica(number) for number in (1, 2, 3))
    assert planned(renewing(), first, second, third, reached=(first, second)) == []
    actions = planned(renewing(replicas_made=3), first, second, third, reached=(first, second, third))
    assert of(TakeOut, actions) == [2]
    assert of(AddReplica, actions) == [4]


def test_it_has_come_up_when_only_new_ones_are_left():
    first, third, fourth = (make_replica(number) for number in (1, 3, 4))
    before = planned(renewing(), first, third, fourth, reached=(first, third, fourth))
    assert of(TakeOut, before) == [1]
    [up] = planned(renewing(), first, third, fourth, reached=(first, third, fourth), leaving={1: 9})
    assert isinstance(up, RecordDeployment)
    assert up.event is DeploymentEvent.ALL_ANSWER


def test_new_ones_that_fail_leave_the_old_ones_in_peace():
    first, second = make_replica(1), make_replica(2)
    [gave_up] = planned(renewing(), first, second, failed(3, code=3), reached=(first, second))
    assert isinstance(gave_up, RecordDeployment)
    assert gave_up.event is DeploymentEvent.GAVE_UP
    given_up = renewing(status=DeploymentStatus.FAILED, replicas_made=3)
    assert planned(given_up, first, second, failed(3, code=3, at_s=9.5), reached=(first, second)) == []


def queued(number: int) -> Run:
    return make_replica(number, status=RunStatus.QUEUED, created_at=NOON)


def test_where_a_new_one_finds_no_room_an_old_one_makes_it_while_another_answers():
    first, second, waits = make_replica(1), make_replica(2), queued(3)
    two = renewing(replicas_made=3)
    assert planned(two, first, second, waits, reached=(first, second), at_s=14) == []
    assert of(TakeOut, planned(two, first, second, waits, reached=(first, second), at_s=15)) == [2]
    left: Any = {"reached": (first,), "leaving": {2: 15}}
    assert planned(two, first, second, waits, **left, at_s=16) == [], "one alone, and it does not come back"
    assert canceled(planned(two, first, second, waits, **left, at_s=20)) == [2]


def test_the_only_one_that_answers_never_makes_room():
    first, second, waits = make_replica(1), make_replica(2), queued(3)
    assert planned(renewing(replicas_made=3), first, second, waits, reached=(first,), at_s=60) == []
    one = renewing(instance_count=1, old=1, replicas_made=3)
    assert planned(one, first, waits, reached=(first,), at_s=60) == []


@pytest.mark.parametrize("instance_count", [2, 3, 5])
def test_all_are_renewed_where_there_is_no_room_for_one_more_and_one_at_a_time_is_missed(instance_count: int):
    deployment = renewing(instance_count=instance_count, old=instance_count)
    there = [make_replica(number) for number in range(1, instance_count + 1)]
    leaving = dict[int, float]()
    for turn in range(200):
        at_s = 10.0 * turn
        answering = tuple(run for run in there if run.status is RunStatus.RUNNING)
        actions = planned(deployment, *there, reached=answering, leaving=leaving, at_s=at_s)
        if any(isinstance(action, RecordDeployment) for action in actions):
            break
        leaving |= dict.fromkeys(of(TakeOut, actions), at_s)
        gone = canceled([action for action in actions if isinstance(action, RecordRun)])
        there = [run for run in there if run.ordinal not in gone]
        there = [make_replica(run.ordinal) if len(there) <= instance_count else run for run in there]
        for number in of(AddReplica, actions):
            there.append(make_replica(number, status=RunStatus.QUEUED, created_at=later(at_s)))
            deployment = replace(deployment, replicas_made=number)
        serving = [run for run in there if run.status is RunStatus.RUNNING and run.ordinal not in leaving]
        assert len(serving) >= instance_count - 1
    assert sorted(run.ordinal for run in there) == list(range(instance_count + 1, 2 * instance_count + 1))


@pytest.mark.parametrize("instance_count", [1, 2, 3, 5])
def test_all_are_renewed_and_there_are_never_fewer_that_answer(instance_count: int):
    deployment = renewing(instance_count=instance_count, old=instance_count)
    there = [make_replica(number) for number in range(1, instance_count + 1)]
    answering, leaving, made = [run.ordinal for run in there], dict[int, float](), list[int]()
    for turn in range(100):
        reached = tuple(run for run in there if run.ordinal in answering)
        actions = planned(deployment, *there, reached=reached, leaving=leaving, at_s=10.0 * turn)
        if any(isinstance(action, RecordDeployment) for action in actions):
            break
        answering += made
        made = of(AddReplica, actions)
        for number in made:
            there.append(make_replica(number))
            deployment = replace(deployment, replicas_made=number)
        leaving |= dict.fromkeys(of(TakeOut, actions), 10.0 * turn)
        gone = canceled(actions) if any(isinstance(action, RecordRun) for action in actions) else []
        there = [run for run in there if run.ordinal not in gone]
        assert len([n for n in answering if n not in leaving]) >= instance_count
        assert len([run for run in there if run.ordinal not in leaving]) <= instance_count + 1
    left = sorted(run.ordinal for run in there if run.ordinal not in leaving)
    assert left == list(range(instance_count + 1, 2 * instance_count + 1))
