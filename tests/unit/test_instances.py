"""What a compute instance needs next: every status, and what ends, crashes or answers meanwhile."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from tests.factories import EPOCH, NOON, cpus, later, make_cluster, make_instance, make_run, make_state
from tests.unit.turns import drained, heard, turn, up

from ultramarine.domain.instance import INSTANCE, InstanceEvent, InstanceSpec, InstanceStatus
from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import Cause, Ending, Mode, OwnerNoun, Run, RunEvent, RunStatus
from ultramarine.domain.start_stop import StartStop
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.instances import (
    LINES,
    SETUP_FAILED,
    Action,
    AddRun,
    KeepInstance,
    RecordInstance,
    Standing,
    plan,
    scheduled,
)

S, E = InstanceStatus, InstanceEvent


def run(number: int = 1, status: RunStatus = RunStatus.RUNNING, **different: Any) -> Run:
    plain = make_run("ic1", ordinal=number, status=status, owner_noun=OwnerNoun.INSTANCE, mode=Mode.INSTANCE)
    return replace(plain, owner_id="c1", compute=ComputeId("c1"), **different)


def failed(number: int = 1, *, at_s: float = 1, cause: Cause = Cause.EXITED, code: int = 1, tail: str = "") -> Run:
    ending = Ending(cause=cause, code=code, words=f"It ended: {cause.value}.", tail=tail)
    return run(number, RunStatus.FAILED, ending=ending, ended_at=later(at_s), reason=ending.words)


def planned(status: InstanceStatus, *runs: Run, now: datetime = later(60), **more: Any) -> list[Action]:
    standing = Standing(instance=make_instance(status=status, runs_made=len(runs)), runs=runs, **more)
    return list(plan(standing, now, epoch=EPOCH))


def event(*actions: Action) -> InstanceEvent | None:
    (action,) = actions
    return action.event if isinstance(action, RecordInstance) else None


@pytest.mark.parametrize("status", [S.CREATING, S.STARTING])
def test_one_that_comes_up_gets_a_run_and_no_second(status: InstanceStatus) -> None:
    (added,) = planned(status)
    assert isinstance(added, AddRun)
    assert (added.run.key, added.run.ordinal, added.instance.runs_made) == (f"{EPOCH}-ic1-1", 1, 1)
    assert (added.run.mode, added.run.user, added.run.need) == (Mode.INSTANCE, "ann", None)
    for under_way in (RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.RUNNING, RunStatus.CANCEL_REQUESTED):
        assert planned(status, run(status=under_way)) == []


@pytest.mark.parametrize("status", [S.CREATING, S.STARTING])
def test_it_runs_once_its_newest_run_answers(status: InstanceStatus) -> None:
    assert event(*planned(status, run(1), answering=run(1).key)) is E.ANSWERS
    assert planned(status, run(1), answering=run(9).key) == []


def test_one_that_runs_is_let_be() -> None:
    assert planned(S.RUNNING, run()) == []


@pytest.mark.parametrize(
    "ended",
    [
        failed(),
        failed(cause=Cause.NODE_LOST),
        run(status=RunStatus.COMPLETED, ended_at=later(1)),
        run(status=RunStatus.CANCELED, ended_at=later(1)),
    ],
)
def test_one_whose_run_has_ended_is_started_again_and_says_why(ended: Run) -> None:
    (lost,) = planned(S.RUNNING, ended)
    assert isinstance(lost, RecordInstance)
    assert (lost.event, lost.reason) == (E.WAS_LOST, f"Started again: {ended.reason}")
    assert INSTANCE.next(S.RUNNING, E.WAS_LOST) is S.STARTING
    again = make_instance(status=S.STARTING, runs_made=1, changed_at=later(2))
    (added,) = plan(Standing(instance=again, runs=[ended]), later(2), epoch=EPOCH)
    assert isinstance(added, AddRun), "at once: it was up before"
    assert added.run.ordinal == 2


def test_one_that_fails_to_come_up_is_tried_again_after_a_rest() -> None:
    assert planned(S.STARTING, failed(at_s=1), now=later(1.5)) == []
    assert isinstance(planned(S.STARTING, failed(at_s=1), now=later(2))[0], AddRun)
    assert planned(S.STARTING, failed(1, at_s=1), failed(2, at_s=10), now=later(11.9)) == []
    assert isinstance(planned(S.STARTING, failed(1, at_s=1), failed(2, at_s=10), now=later(12))[0], AddRun)


def test_after_three_failures_it_is_unusable_and_shows_the_end_of_its_log() -> None:
    log = "\n".join(f"line {number}" for number in range(200))
    (given_up,) = planned(S.STARTING, *(failed(number, tail=log) for number in (1, 2, 3)))
    assert isinstance(given_up, RecordInstance)
    assert given_up.event is E.GAVE_UP
    words = given_up.reason.splitlines()
    assert words[0] == "It ended: exited."
    assert words[1:] == [f"line {number}" for number in range(200 - LINES, 200)]
    assert len(words) == 51


def test_failures_of_before_it_was_asked_for_again_do_not_count() -> None:
    again = make_instance(status=S.STARTING, runs_made=3, changed_at=later(10))
    (added,) = plan(Standing(instance=again, runs=[failed(number) for number in (1, 2, 3)]), later(10), epoch=EPOCH)
    assert isinstance(added, AddRun)


def test_losses_of_machines_are_no_failures_of_its_own() -> None:
    lost = [failed(number, cause=Cause.NODE_LOST) for number in range(1, 9)]
    assert isinstance(planned(S.STARTING, *lost)[0], AddRun)


@pytest.mark.parametrize("cause", [Cause.ENVIRONMENT, Cause.IMPOSSIBLE, Cause.INPUT])
def test_what_never_gets_better_is_not_tried_again(cause: Cause) -> None:
    assert event(*planned(S.CREATING, failed(cause=cause))) is E.GAVE_UP


def test_a_set_up_script_that_failed_is_said_so_with_its_log() -> None:
    (crashed,) = planned(S.CREATING, failed(code=SETUP_FAILED, tail="pip: no such package"))
    assert isinstance(crashed, RecordInstance)
    assert crashed.event is E.SETUP_CRASHED
    assert crashed.reason.endswith("pip: no such package")
    assert INSTANCE.next(S.CREATING, E.SETUP_CRASHED) is S.SETUP_FAILED
    killed = failed(cause=Cause.OUT_OF_MEMORY, code=SETUP_FAILED)
    assert isinstance(planned(S.CREATING, killed)[0], AddRun), "the number says it only where it exited by itself"


@pytest.mark.parametrize("status", [S.STOPPING, S.RESTARTING, S.RESIZING, S.STOPPED, S.SETUP_FAILED, S.UNUSABLE])
def test_a_run_that_is_not_wanted_is_ended_once(status: InstanceStatus) -> None:
    for under_way in (RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.RUNNING, RunStatus.NOT_RESPONDING):
        (ended,) = planned(status, run(status=under_way))
        assert isinstance(ended, RecordRun)
        assert ended.event is RunEvent.CANCEL_ASKED
    assert planned(status, run(status=RunStatus.CANCEL_REQUESTED)) == []


@pytest.mark.parametrize(
    ("status", "then"), [(S.STOPPING, S.STOPPED), (S.RESTARTING, S.STARTING), (S.RESIZING, S.STARTING)]
)
def test_when_its_run_has_ended_it_still_says_why(status: InstanceStatus, then: InstanceStatus) -> None:
    asked = make_instance(status=status, reason="Idle since 12:00 UTC, for 60 minutes or more.")
    (ended,) = plan(Standing(instance=asked, runs=[]), later(60), epoch=EPOCH)
    assert isinstance(ended, RecordInstance)
    assert (INSTANCE.next(status, ended.event), ended.reason) == (then, asked.reason)


@pytest.mark.parametrize(
    ("status", "then"), [(S.STOPPING, S.STOPPED), (S.RESTARTING, S.STARTING), (S.RESIZING, S.STARTING)]
)
def test_when_its_run_has_ended_it_goes_on(status: InstanceStatus, then: InstanceStatus) -> None:
    assert event(*planned(status, run(status=RunStatus.CANCELED, ended_at=NOON))) is E.ENDED
    assert event(*planned(status)) is E.ENDED
    assert INSTANCE.next(status, E.ENDED) is then


@pytest.mark.parametrize("status", [S.STOPPED, S.SETUP_FAILED, S.UNUSABLE])
def test_one_that_is_down_rests(status: InstanceStatus) -> None:
    assert planned(status, failed()) == []


def test_a_resize_waits_until_the_machine_of_the_old_size_is_given_back() -> None:
    assert planned(S.RESIZING, has_other_machine=True) == []
    assert event(*planned(S.RESIZING)) is E.ENDED
    assert planned(S.STARTING, has_other_machine=True) == [], "it was stopped, resized and started within seconds"
    assert event(*planned(S.STOPPING, has_other_machine=True)) is E.ENDED


@pytest.mark.parametrize("status", [*S])
def test_it_can_be_stopped_while_it_is_wanted_and_started_while_it_is_not(status: InstanceStatus) -> None:
    there = make_instance(status=status)
    for asked in (E.STOP_ASKED, E.START_ASKED):
        is_down = status in (S.SETUP_FAILED, S.UNUSABLE) and asked is E.STOP_ASKED
        is_possible = asked in there.no_news or asked in INSTANCE.events(status)
        assert is_possible is not (is_down or (asked is E.START_ASKED and status in (S.RESTARTING, S.RESIZING)))


# Schedules


def daily(action: str, hour: int) -> StartStop:
    return StartStop.model_validate({"action": action, "trigger": {"type": "cron", "expression": f"0 {hour} * * *"}})


def test_a_schedule_stops_it_once() -> None:
    schedules, evening = [daily("stop", 19)], later(7 * 3600 + 5)
    asked = scheduled(make_instance(status=S.RUNNING), schedules, evening)
    assert isinstance(asked, RecordInstance)
    assert (asked.event, asked.instance.scheduled_at) == (E.STOP_ASKED, later(7 * 3600))
    assert asked.reason == "Its schedule of 2026-01-01 19:00 UTC: stop."
    stopping = asked.instance.after(asked.event, now=evening)
    assert scheduled(stopping, schedules, evening) is None
    started = replace(stopping, status=S.RUNNING)
    assert scheduled(started, schedules, later(8 * 3600)) is None, "somebody has started it again meanwhile"


def test_what_is_so_already_or_cannot_be_is_only_ticked_off() -> None:
    for status in (S.STOPPED, S.UNUSABLE):
        done = scheduled(make_instance(status=status), [daily("stop", 19)], later(8 * 3600))
        assert isinstance(done, KeepInstance)
        assert done.instance == make_instance(status=status, scheduled_at=later(7 * 3600))


def test_what_was_missed_is_made_up_for_once_and_the_latest_wins() -> None:
    schedules, now = [daily("start", 8), daily("stop", 19)], later(3 * 86400)
    asked = scheduled(make_instance(status=S.STOPPED), schedules, now)
    assert isinstance(asked, RecordInstance)
    assert (asked.event, asked.instance.scheduled_at) == (E.START_ASKED, later(3 * 86400 - 4 * 3600))
    assert scheduled(asked.instance, schedules, now) is None


# Its machine


def test_a_machine_of_another_size_is_given_back_at_once_and_one_of_its_own_is_kept_for_a_restart() -> None:
    spec = InstanceSpec(name="i1", size="cpu-1")
    (machine,) = up(1)
    for size, gone in ((machine.capacity, []), (cpus(2), [machine.key])):
        compute = make_cluster(spec=spec, size=size, size_name="other")
        state = make_state(allocations=[machine], computes=[compute])
        assert drained(turn(state, heard(machine, at=later(4)), 5)) == gone
