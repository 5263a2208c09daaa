"""Allocations that wait at their target for machines: they are not late, and say what they wait for."""

from datetime import datetime
from typing import Any, cast

from tests.factories import NOON, later, make_allocation, make_cluster, make_host, make_run, make_seen, make_state
from tests.unit.turns import drained, turn

from ultramarine.domain.allocation import AllocationStatus as S
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.planning.actions import RecordAllocation
from ultramarine.planning.seen import AllocationNews, Patience, Seen
from ultramarine.services.hub import Hub

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


def test_one_on_another_machine_that_is_not_heard_is_said_what_it_needs() -> None:
    def why(pool: str) -> str:
        run, cluster, host = make_run("j"), make_cluster(host=pool), make_host(name=pool, pool=pool)
        starting = make_allocation(1, status=S.STARTING, compute=cluster)
        state = make_state(runs=[run], computes=[cluster], allocations=[starting], hosts=[host])
        [record] = [r for r in turn(state, make_seen(), 61).records if isinstance(r, RecordAllocation)]
        return record.reason

    assert why("ray").endswith(
        "say hello within 60 s. Nodes on other machines reach the installation where um up --listen says."
    )
    assert "--listen" not in why(THIS_MACHINE)


def test_one_that_waits_for_a_machine_is_not_late() -> None:
    assert not is_given_up(seen_at(3600), seconds=3601)
    assert is_given_up(seen_at(3600), seconds=3661)


def test_a_target_that_does_not_answer_makes_nothing_late() -> None:
    """The head of a Ray that is killed is away for a while, and its autoscaler goes on afterwards."""
    assert not is_given_up(make_seen(unanswered_at=later(100)), seconds=101)
    assert not is_given_up(seen_at(10, unanswered_at=later(100)), seconds=159)
    assert is_given_up(seen_at(10, unanswered_at=later(100)), seconds=161)


def test_one_that_its_target_has_given_is_late_though_the_target_fails_now_and_then() -> None:
    """A raylet that died under a node that started there, and a driver that is asked anew each time it was killed."""
    given = {STARTING.key: later(5)}
    assert not is_given_up(make_seen(given_at=given, unanswered_at=later(60)), seconds=64)
    assert is_given_up(make_seen(given_at=given, unanswered_at=later(60)), seconds=66)
    waits_again = make_seen(pending_at={STARTING.key: later(30)}, unanswered_at=later(60))
    assert not is_given_up(waits_again, seconds=119)


def test_since_when_a_target_has_machines_is_kept_until_it_is_seen_without() -> None:
    hub = Hub(patience=Patience(), listening_since=NOON)
    key = STARTING.key

    def given_at(*states: str | None) -> datetime | None:
        for second, state in enumerate(states):
            news = None if state is None else {key: AllocationNews(state=cast("Any", state))}
            hub.observed(THIS_MACHINE, news, now=later(second))
        return hub.seen(THIS_MACHINE).given_at.get(key)

    assert given_at("pending", "up", None, "unknown", "up") == later(1)
    assert given_at("up", "pending") is None
    assert given_at("unknown") is None
    assert given_at("pending", "up") == later(1)


def test_a_job_that_waits_says_what_its_target_says() -> None:
    run = make_run("j")
    state = make_state(runs=[run], computes=[make_cluster()], allocations=[STARTING])
    made = turn(state, make_seen(listening_since=NOON, allocations={STARTING.key: WAITS}))
    assert made.reasons[run.key] == "1 node of cluster-c1 is starting. No machine of that kind in zone b."
