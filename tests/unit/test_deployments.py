"""How many replicas a deployment gets, when it has come up, when it is given up."""

from dataclasses import replace
from typing import Any

import pytest
from tests.factories import EPOCH, NOON, cpus, later, make_run

from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentSpec, DeploymentStatus
from ultramarine.domain.names import ComputeId, RunKey
from ultramarine.domain.run import Cause, Ending, Mode, OwnerNoun, Run, RunEvent, RunStatus
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.deployments import Action, AddReplica, RecordDeployment, Standing, plan


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


def planned(deployment: Deployment, *runs: Run, reached: tuple[Run, ...] = (), at_s: float = 10) -> list[Action]:
    standing = Standing(
        deployment=deployment,
        runs=runs,
        reached=frozenset(RunKey(run.key) for run in reached),
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


def test_the_newest_go_first_when_fewer_are_wanted():
    replicas = [make_replica(number) for number in (1, 2, 3)]
    up = make_deployment(status=DeploymentStatus.SUCCEEDED)
    stopped = planned(up, *replicas, reached=tuple(replicas))
    assert [action.run.ordinal for action in stopped if isinstance(action, RecordRun)] == [2, 3]
    assert all(isinstance(action, RecordRun) and action.event is RunEvent.CANCEL_ASKED for action in stopped)


@pytest.mark.parametrize("hopeless", [failed(1, cause=Cause.ENVIRONMENT), failed(1, code=3)])
def test_what_can_never_come_up_is_given_up_at_once_with_the_end_of_its_log(hopeless: Run):
    [given_up] = planned(make_deployment(), hopeless)
    assert isinstance(given_up, RecordDeployment)
    assert given_up.event is DeploymentEvent.GAVE_UP
    assert given_up.reason.endswith("the last line")


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
    [stopped] = planned(make_deployment(status=status), make_replica())
    assert isinstance(stopped, RecordRun)
    assert stopped.event is RunEvent.CANCEL_ASKED


def test_it_is_gone_when_its_last_replica_has_ended():
    going = make_deployment(status=DeploymentStatus.DELETING)
    assert planned(going, make_replica(status=RunStatus.CANCEL_REQUESTED)) == []
    [gone] = planned(going, make_replica(status=RunStatus.CANCELED, ended_at=NOON))
    assert isinstance(gone, RecordDeployment)
    assert gone.event is DeploymentEvent.REPLICAS_ENDED
