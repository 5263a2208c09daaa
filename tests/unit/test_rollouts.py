"""Rollouts: steps, figures, and the way back. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.rollout import Condition, Rollout, RolloutEvent, RolloutSpec, RolloutStatus, shared
from ultramarine.planning.rollouts import Move, Seen, Wait, plan
from ultramarine.planning.traffic import Latencies, Mirrored, Traffic

T = datetime(2026, 11, 1, tzinfo=UTC)
BOUNDS = (0.001, 0.01, 0.1, 1.0)
BEFORE = {"blue": 100}


def make_rollout(*, step: int = -1, before: dict[str, int] = BEFORE, **spec: Any) -> Rollout:
    return Rollout(
        id="r",
        workspace="default",
        endpoint="cancer",
        deployment="green",
        spec=RolloutSpec.read(spec, what="the rollout"),
        before=before,
        step=step,
        step_at=T,
        created_at=T,
        changed_at=T,
    )


def make_figures(requests: int = 0, errors: int = 0, *, within: int = 1, **mirrored: int) -> Traffic:
    """`within`: which bound all of them lie below."""
    counts = tuple(requests if at == within else 0 for at in range(len(BOUNDS) + 1))
    return Traffic(
        requests=requests,
        answers={"2xx": requests - errors, "5xx": errors},
        seconds=Latencies(bounds=BOUNDS, counts=counts),
        mirrored=Mirrored(compared=mirrored.get("compared", 0), agreed=mirrored.get("agreed", 0)),
    )


def judge(rollout: Rollout, *, after_s: float = 0, **seen: Any) -> Move | Wait:
    what: dict[str, Any] = {"traffic": rollout.traffic, "candidate": make_figures(), "others": make_figures(), **seen}
    return plan(rollout, Seen(**what), T + timedelta(seconds=after_s))


def test_the_canary_gets_its_share_first():
    move = judge(make_rollout(canary=5, steps=[10, 50, 100]))
    assert move == Move(event=RolloutEvent.STEP_TAKEN, reason="green has 5 % of the traffic.")


def test_a_canary_that_is_the_first_step_is_said_twice_and_meant_once():
    assert make_rollout(canary=10, steps=[10, 50]).spec.shares == [10, 50]


def test_it_waits_for_a_deployment_that_cannot_answer():
    wait = judge(make_rollout(), why_not="no replica answers.")
    assert wait == Wait(reason="It waits for green: no replica answers.")


def test_a_step_lasts_its_time():
    wait = judge(make_rollout(step=0, hold=60), after_s=20, candidate=make_figures(200))
    assert wait == Wait(reason="At 10 % for 40 s more; 200 requests, 0 errors, p99 10 ms.")


def test_a_step_that_saw_too_little_waits_on():
    wait = judge(make_rollout(step=0, hold=60), after_s=600, candidate=make_figures(3))
    assert wait == Wait(reason="At 10 %: it has had 3 of 50 requests.")


def test_good_figures_take_the_next_step_and_the_last_one_ends_it():
    good = make_figures(1000)
    assert judge(make_rollout(step=0), after_s=60, candidate=good, others=good) == Move(
        event=RolloutEvent.STEP_TAKEN, reason="green has 50 % of the traffic."
    )
    last = judge(make_rollout(step=2), after_s=60, candidate=good)
    assert isinstance(last, Move)
    assert last.event is RolloutEvent.LAST_STEP_HELD


def test_errors_return_the_traffic_at_once():
    move = judge(make_rollout(step=0), after_s=1, candidate=make_figures(100, 3))
    assert move == Move(
        event=RolloutEvent.FIGURES_WERE_BAD,
        reason="At 10 % of the traffic: 3 errors of 100 requests, 3.0 %; error_rate>1% was not to be.",
    )


def test_one_error_of_few_is_no_proof():
    wait = judge(make_rollout(step=0, min_requests=200), after_s=1, candidate=make_figures(10, 2))
    assert isinstance(wait, Wait)


def test_errors_that_are_too_many_of_any_number_to_come_need_not_be_waited_for():
    move = judge(make_rollout(step=0, min_requests=200), after_s=1, candidate=make_figures(10, 3))
    assert isinstance(move, Move)
    assert move.event is RolloutEvent.FIGURES_WERE_BAD


def test_slower_than_the_others_by_more_than_was_allowed():
    move = judge(make_rollout(step=0), candidate=make_figures(100, within=2), others=make_figures(900, within=1))
    assert isinstance(move, Move)
    assert move.reason == ("At 10 % of the traffic: p99 is 99.1 ms, 9.9 ms of the others; p99>2x was not to be.")


def test_with_nobody_to_compare_with_nothing_is_slower():
    assert isinstance(judge(make_rollout(step=2), candidate=make_figures(100, within=3)), Wait)


def test_a_limit_in_milliseconds_needs_nobody_to_compare_with():
    rollout = make_rollout(step=2, pause_on=["p95>50ms"])
    move = judge(rollout, candidate=make_figures(100, within=2))
    assert isinstance(move, Move)
    assert "p95 is 95.5 ms; p95>50ms" in move.reason


def test_mirrored_answers_that_differ_return_it():
    rollout = make_rollout(step=0, pause_on=["disagreement>1%"])
    move = judge(rollout, candidate=make_figures(0, compared=100, agreed=90))
    assert isinstance(move, Move)
    assert "10 other answers of 100 requests" in move.reason


def test_a_deployment_that_is_lost_returns_it():
    move = judge(make_rollout(step=1), why_not="it has Failed.", is_lost=True)
    assert move == Move(event=RolloutEvent.DEPLOYMENT_WAS_LOST, reason="green: it has Failed.")


def test_traffic_that_somebody_else_changed_is_left_to_them():
    move = judge(make_rollout(step=1), traffic={"blue": 30, "green": 70})
    assert isinstance(move, Move)
    assert move.event is RolloutEvent.TRAFFIC_WAS_CHANGED


def test_the_statuses_of_a_rollout():
    taken = make_rollout().after(RolloutEvent.STEP_TAKEN, now=T + timedelta(seconds=5))
    assert (taken.step, taken.step_at, taken.traffic) == (0, T + timedelta(seconds=5), {"blue": 90, "green": 10})
    back = taken.after(RolloutEvent.FIGURES_WERE_BAD, now=T)
    assert (back.status, back.step_at) == (RolloutStatus.RETURNED, T + timedelta(seconds=5))


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100), max_size=6), st.integers(1, 100))
def test_shares_always_add_up(before: dict[str, int], share: int):
    traffic = shared(before, "green", share)
    assert sum(traffic.values()) == 100
    had = sum(before.values())
    assert traffic["green"] == (share if had else 100)
    for name, old in before.items():
        if old:
            assert abs(traffic[name] - (100 - share) * old / had) < 1


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("error_rate>1%", Condition("error_rate", 0.01, False, "error_rate>1%")),
        (" p99 > 2x ", Condition("p99", 2.0, True, "p99>2x")),
        ("p95>300ms", Condition("p95", 0.3, False, "p95>300ms")),
    ],
)
def test_conditions_are_read(written: str, condition: Condition):
    assert Condition.parse(written) == condition


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pause_on": ["errors>1%"]}, "'errors>1%' is no condition; write a measure"),
        ({"pause_on": ["error_rate>2x"]}, "'error_rate>2x': the limit of error_rate is given in %"),
        ({"steps": [50, 10]}, "steps rise from one to the next; seen: 50, 10"),
        ({"steps": [10, 110]}, "steps are shares of the traffic, 1 to 100 percent"),
        ({"steps": []}, "steps are shares of the traffic"),
        ({"canary": 0}, "canary"),
        ({"stpes": [1]}, "did you mean 'steps'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: dict[str, Any], words: str):
    with pytest.raises(InvalidInput, match=words.replace("?", r"\?")):
        RolloutSpec.read(spec, what="the rollout")
