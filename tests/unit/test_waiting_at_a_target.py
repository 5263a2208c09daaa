"""Allocations that wait at their target for machines: they are not late, and say what they wait for."""

from datetime import datetime

from tests.factories import NOON, later, make_allocation, make_cluster, make_run, make_seen, make_state
from tests.unit.turns import drained, turn

from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.planning.seen import AllocationNews, Seen

STARTING = make_allocation(1, status=S.STARTING)
WAITS = AllocationNews(state="pending", reason="No machine of that kind in zone b.")


def is_given_up(seen: Seen, *, seconds: float) -> bool:
    state = make_state(runs=[make_run("j")], computes=[make_cluster()], allocations=[STARTING])
    return STARTING.key in drained(turn(state, seen, seconds))


def seen_at(seconds: float, *, unanswered_at: datetime | None = None) -> Seen:
    """`seconds`: after which its target last said that it waits."""
    pending = {STARTING.key: later(seconds)}
    return make_seen(allocations={STARTING.key: WAITS}, pending_at=pending, unanswered_at=unanswered_at)


def test_one_that_is_not_heard_in_time_is_given_up() -> None:
    assert not is_given_up(make_seen(), seconds=59)
    assert is_given_up(make_seen(), seconds=61)


def test_one_that_waits_for_a_machine_is_not_late() -> None:
    assert not is_given_up(seen_at(3600), seconds=3601)
    assert is_given_up(seen_at(3600), seconds=3661)


def test_a_target_that_does_not_answer_makes_nothing_late() -> None:
    """The head of a Ray that is killed is away for a while, and its autoscaler goes on afterwards."""
    assert not is_given_up(make_seen(unanswered_at=later(100)), seconds=101)
    assert not is_given_up(seen_at(10, unanswered_at=later(100)), seconds=159)
    assert is_given_up(seen_at(10, unanswered_at=later(100)), seconds=161)


def test_a_job_that_waits_says_what_its_target_says() -> None:
    run = make_run("j")
    state = make_state(runs=[run], computes=[make_cluster()], allocations=[STARTING])
    made = turn(state, make_seen(listening_since=NOON, allocations={STARTING.key: WAITS}))
    assert made.reasons[run.key] == "1 node of cluster-c1 is starting. No machine of that kind in zone b."
