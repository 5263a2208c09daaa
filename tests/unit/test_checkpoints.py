"""What is kept of a run's checkpoints, and what the next attempt begins with."""

from typing import Any

import pytest
from tests.factories import EPOCH, NOON, later, make_allocation, make_report, make_run, make_seen, make_state

from ultramarine.domain.run import Cause, CheckpointReport, Ending, Run, RunReport
from ultramarine.domain.run import RunStatus as S
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.runs import checkpoints, follow, progress
from ultramarine.planning.turn import plan

A, B = make_allocation(1), make_allocation(2)
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
PREEMPTED = Ending(cause=Cause.PREEMPTED, words="A job of a higher tier needs its node.")


def placed(status: S = S.RUNNING, **different: Any) -> Run:
    plain: dict[str, Any] = {"nodes": (A.node,), "checkpoint": OLD}
    return make_run(status=status, **(plain | different))


def kept(snapshot: str | None = NEW, problem: str = "") -> CheckpointReport:
    return CheckpointReport(snapshot=snapshot, problem=problem)


def ended(run: Run, report: RunReport) -> RecordRun:
    made = follow(run, make_seen({A.node: {run.key: report}}), later(1), epoch=EPOCH)
    assert made is not None
    return made


def test_a_checkpoint_is_kept_once_and_without_a_move() -> None:
    run = placed()
    state = make_state(runs=[run], allocations=[A])
    made = plan(state, make_seen({A.node: {run.key: make_report(checkpoint=kept())}}), later(1))
    assert made.checkpoints == {run.key: NEW}
    assert not [record for record in made.records if isinstance(record, RecordRun)]
    again = placed(checkpoint=NEW)
    assert checkpoints([again], make_seen({A.node: {run.key: make_report(checkpoint=kept())}})) == {}


@pytest.mark.parametrize("snapshot", [None, OLD])
def test_a_runner_that_has_kept_nothing_new_changes_nothing(snapshot: str | None) -> None:
    run = placed()
    assert checkpoints([run], make_seen({A.node: {run.key: make_report(checkpoint=kept(snapshot))}})) == {}


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELED, S.QUEUED])
def test_a_late_report_of_an_attempt_that_is_over_is_not_asked(status: S) -> None:
    first, second = placed(status), make_run(ordinal=2, checkpoint=NEW)
    late = make_seen({A.node: {first.key: make_report(checkpoint=kept(OTHER))}})
    assert checkpoints([first, second], late) == {}


@pytest.mark.parametrize("cause", [Cause.LEASE, Cause.RUNNER, Cause.EXITED, Cause.TIMEOUT, Cause.PREEMPTED])
def test_the_next_attempt_begins_with_what_its_last_report_names(cause: Cause) -> None:
    decided: dict[str, Any] = {"status": S.FINALIZING, "ending": PREEMPTED} if cause is Cause.PREEMPTED else {}
    told = Cause.STOPPED if cause is Cause.PREEMPTED else cause
    made = ended(placed(retries_left=1, **decided), make_report(cause=told, checkpoint=kept()))
    assert made.changes["checkpoint"] == NEW
    assert made.again is not None
    assert (made.again.ordinal, made.again.checkpoint) == (2, NEW)


def test_after_the_loss_of_its_node_it_begins_with_the_newest_that_was_kept() -> None:
    run = placed()
    made = follow(run, make_seen(ended=(A.key,)), later(1), epoch=EPOCH)
    assert made is not None
    assert made.again is not None
    assert made.again.checkpoint == OLD


def test_a_job_that_ends_for_good_keeps_its_last_checkpoint() -> None:
    made = ended(placed(), make_report(cause=Cause.COMPLETED, checkpoint=kept()))
    assert (made.changes["checkpoint"], made.again) == (NEW, None)


def test_of_several_nodes_the_first_ones_folder_counts() -> None:
    run = placed(nodes=(A.node, B.node), instance_count=2)
    first, other = make_report(checkpoint=kept(NEW)), make_report(checkpoint=kept(OTHER))
    assert checkpoints([run], make_seen({A.node: {run.key: first}, B.node: {run.key: other}})) == {run.key: NEW}
    assert checkpoints([run], make_seen({B.node: {run.key: other}})) == {}


def test_why_a_checkpoint_cannot_be_kept_is_the_reason_of_a_run_until_it_can() -> None:
    run, words = placed(started_at=NOON), "A newer checkpoint could not be kept: the disk is full."
    seen = make_seen({A.node: {run.key: make_report(checkpoint=kept(OLD, words))}})
    assert progress([run], seen) == {run.key: words}
    told = placed(reason=words)
    assert progress([told], seen) == {}
    assert progress([told], make_seen({A.node: {run.key: make_report(checkpoint=kept())}})) == {run.key: ""}
