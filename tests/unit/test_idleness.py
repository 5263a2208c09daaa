"""Whether an instance is in use: each kind of evidence, what is no evidence, and when it stops."""

from dataclasses import replace
from typing import Any

import pytest
from tests.factories import NOON, later, make_instance

from ultramarine.domain.instance import InstanceStatus
from ultramarine.planning.idleness import (
    CPU_PERCENT,
    GPU_PERCENT,
    Application,
    Evidence,
    Idleness,
    Kernel,
    Terminal,
    is_worth_writing,
    judge,
)

IDLE = Evidence(cpu_percent=1.0)
HOUR_S = 3600
UP = make_instance(status=InstanceStatus.RUNNING)


def judged(evidence: Evidence | None, *, at_s: float, **different: Any) -> Idleness:
    plain: dict[str, Any] = {"idle_minutes": 60, "watched_since": NOON, "now": later(at_s)}
    return judge(different.pop("instance", UP), evidence, **(plain | different))


def kernel(state: str = "idle", at_s: float = 0) -> Kernel:
    return Kernel(name="sklearn", is_busy=state == "busy", active_at=later(at_s))


def application(connections: int = 0, *, at_s: float | None = None) -> Application:
    return Application(name="board", connections=connections, active_at=None if at_s is None else later(at_s))


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"kernels": [kernel(), kernel("busy")]}, "the kernel sklearn is busy"),
        ({"applications": [application(1)]}, "the application board has 1 connection open"),
        ({"applications": [application(0), application(3)]}, "the application board has 3 connections open"),
        ({"cpu_percent": CPU_PERCENT}, "its processes use 20 % of a CPU"),
        ({"gpu_percent": GPU_PERCENT}, "a GPU is at 5 %"),
    ],
)
def test_each_kind_of_use_keeps_it_up_and_is_named(used: dict[str, Any], said: str) -> None:
    found = judged(replace(IDLE, **used), at_s=10 * HOUR_S)
    assert (found.busy_by, found.stops_at, found.active_at) == ((said,), None, later(10 * HOUR_S))
    assert found.why == f"It stays up: {said}."
    assert not found.must_stop(later(99 * HOUR_S))


def test_a_kernel_that_starts_keeps_it_up_for_as_long_as_an_environment_may_take() -> None:
    """One that no client has ever spoken to says for ever that it starts."""
    starts = replace(IDLE, kernels=[Kernel(name="torch", is_busy=False, is_starting=True, active_at=NOON)])
    assert judged(starts, at_s=899, idle_minutes=1).busy_by == ("the kernel torch is starting",)
    assert judged(starts, at_s=900, idle_minutes=1).must_stop(later(900))


@pytest.mark.parametrize("used", [{"cpu_percent": CPU_PERCENT - 0.1}, {"gpu_percent": GPU_PERCENT - 0.1}])
def test_a_machine_that_only_idles_is_no_use(used: dict[str, Any]) -> None:
    assert judged(replace(IDLE, **used), at_s=HOUR_S).must_stop(later(HOUR_S))


@pytest.mark.parametrize(
    "used",
    [
        {"kernels": [kernel(at_s=100), kernel(at_s=50)]},
        {"terminals": [Terminal(name="1", active_at=later(100))]},
        {"applications": [application(), application(at_s=100)]},
    ],
)
def test_it_counts_from_the_last_thing_that_was_done(used: dict[str, Any]) -> None:
    found = judged(replace(IDLE, **used), at_s=1000)
    assert (found.active_at, found.stops_at) == (later(100), later(100 + HOUR_S))
    assert found.why == "Idle since 12:01 UTC; it stops at 2026-01-01 13:01 UTC."
    assert not found.must_stop(later(99 + HOUR_S))
    assert found.must_stop(later(100 + HOUR_S))


def test_a_clock_that_is_ahead_keeps_nothing_up() -> None:
    found = judged(replace(IDLE, kernels=[kernel(at_s=9 * HOUR_S)]), at_s=100)
    assert (found.active_at, found.stops_at) == (later(100), later(100 + HOUR_S))


def test_no_answer_is_no_evidence() -> None:
    found = judged(None, at_s=99 * HOUR_S)
    assert (found.stops_at, found.active_at) == (None, NOON)
    assert found.why == "It stays up: it does not say what it does."
    unknown = judged(replace(IDLE, cpu_percent=None), at_s=99 * HOUR_S)
    assert (unknown.stops_at, unknown.busy_by) == (None, ())
    untold = judged(replace(IDLE, applications=None), at_s=99 * HOUR_S)
    assert (untold.stops_at, untold.busy_by) == (None, ())
    assert "the gateway does not answer" in untold.why


def test_it_is_told_five_minutes_before() -> None:
    found = judged(IDLE, at_s=HOUR_S - 301)
    assert not found.warns(later(HOUR_S - 301))
    assert found.warns(later(HOUR_S - 300))
    unseen = judged(IDLE, at_s=2 * HOUR_S, watched_since=later(2 * HOUR_S))
    assert unseen.stops_at == later(2 * HOUR_S + 300), "the server was away, and nobody could see it"
    short = judged(IDLE, at_s=2 * HOUR_S, watched_since=later(2 * HOUR_S), idle_minutes=2)
    assert short.stops_at == later(2 * HOUR_S + 120)


def test_who_wants_it_to_stay_keeps_it_until_then_and_not_longer() -> None:
    awake = replace(UP, awake_until=later(8 * HOUR_S))
    found = judged(IDLE, at_s=2 * HOUR_S, instance=awake)
    assert found.stops_at == later(8 * HOUR_S)
    assert found.why.endswith("it stops at 2026-01-01 20:00 UTC, until when somebody wants it to stay.")
    past = judged(IDLE, at_s=2 * HOUR_S, instance=replace(UP, awake_until=later(60)))
    assert past.stops_at == later(HOUR_S)


def test_without_a_time_it_never_stops_by_itself() -> None:
    found = judged(IDLE, at_s=99 * HOUR_S, idle_minutes=None)
    assert (found.stops_at, found.why) == (None, "It stays up: it has no idle_time_before_shutdown_minutes.")


def test_that_it_is_busy_is_written_now_and_then() -> None:
    busy = replace(IDLE, applications=[application(1)])
    assert not is_worth_writing(UP, judged(busy, at_s=29))
    assert is_worth_writing(UP, judged(busy, at_s=30))
    assert not is_worth_writing(UP, judged(IDLE, at_s=HOUR_S))
