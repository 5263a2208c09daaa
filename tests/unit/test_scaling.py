"""Replicas follow requests: up at once, down after a rest, to none and back, and never to and fro."""

from collections.abc import Iterable
from math import sin
from typing import Any

import pytest
from tests.factories import NOON, later

from ultramarine.domain.endpoint import TargetUtilization
from ultramarine.planning.scaling import Decision, Load, Memory, Scale, decide


def scale(*, concurrent: int = 10, **different: Any) -> Scale:
    """Each replica shall have 5 requests in flight; from 0 to 4 replicas."""
    plain = {"min_instances": 0, "max_instances": 4, "target_utilization_percentage": 50}
    settings = TargetUtilization.model_validate({"type": "target_utilization"} | plain | different)
    return Scale(settings=settings, concurrent=concurrent)


class Days:
    """One deployment, looked at each second."""

    def __init__(self, scale: Scale, *, wanted: int) -> None:
        self.scale, self.wanted, self.second = scale, wanted, 0
        self.memory = Memory(since=NOON)
        self.story: list[tuple[int, int]] = []
        self.reasons: list[str] = []

    def pass_by(self, loads: Iterable[Load | None], *, held: bool = False) -> "Days":
        for load in loads:
            self.second += 1
            now = later(self.second)
            self.memory, made = decide(
                self.scale, self.memory, load, wanted=self.wanted, held_at=now if held else None, now=now
            )
            if made is not None:
                self.wanted = made.wanted
                self.story.append((self.second, made.wanted))
                self.reasons.append(made.reason)
        return self


def steady(in_flight: int, seconds: int) -> list[Load | None]:
    return [Load(in_flight=in_flight)] * seconds


QUIET = Load()


def test_more_replicas_come_as_soon_as_the_average_asks_for_them():
    days = Days(scale(), wanted=1).pass_by(steady(14, 1))
    assert days.story == [(1, 3)]
    assert days.reasons == ["14.0 requests in flight on average, and each replica shall have 5: 3 instead of 1."]


def test_a_steady_load_changes_nothing():
    days = Days(scale(), wanted=3).pass_by(steady(14, 2000))
    assert days.story == []
    assert days.memory.words == "14.0 requests in flight on average, and each replica shall have 5."


@pytest.mark.parametrize("edge", [4.8, 5.0, 5.2, 9.9, 10.1, 14.7])
def test_a_load_that_swings_around_an_edge_does_not_make_replicas_flap(edge: float):
    swinging = [Load(in_flight=round(edge + 2 * sin(second / 7))) for second in range(3000)]
    days = Days(scale(), wanted=1).pass_by(swinging)
    assert len(days.story) <= 2
    assert days.wanted in (round(edge / 5), round(edge / 5) + 1)


def test_fewer_are_kept_only_when_fewer_were_enough_for_the_whole_cooldown():
    days = Days(scale(), wanted=1).pass_by(steady(19, 30)).pass_by(steady(2, 299))
    assert days.wanted == 4
    days.pass_by(steady(2, 20))
    assert days.wanted == 1
    assert "1 were enough for 300 s" in days.reasons[-1]


def test_a_peak_within_the_cooldown_keeps_what_it_needed():
    days = Days(scale(cooldown=60), wanted=4)
    for _ in range(10):
        days.pass_by(steady(2, 45)).pass_by(steady(19, 12))
    assert days.story == []


def test_what_waits_is_never_left_waiting_for_the_average():
    quiet = Days(scale(polling_interval=30), wanted=1).pass_by(steady(1, 10))
    quiet.pass_by([Load(in_flight=10, queued=15)])
    assert quiet.story == [(11, 3)]
    assert quiet.reasons == ["15 requests wait beside 10 in flight: 3 instead of 1."]


def test_short_requests_count_though_no_look_has_seen_one():
    """300 requests of 50 ms a second are 15 in flight, and over between two looks."""
    looks = [Load(requests=300 * second, seconds=15.0 * second) for second in range(5)]
    assert Days(scale(), wanted=1).pass_by(looks).wanted == 3


def test_a_request_that_is_held_makes_the_first_replica_at_once_and_is_no_reason_for_more():
    days = Days(scale(), wanted=0).pass_by([QUIET] * 20)
    assert days.wanted == 0
    days.pass_by([Load(held=1)])
    assert (days.story, days.reasons) == ([(21, 1)], ["A request waits for the first replica."])
    days.pass_by([Load(held=1)] * 20)
    assert days.wanted == 1


def test_what_a_gateway_says_that_it_holds_counts_before_any_look():
    for load in (None, QUIET):
        assert Days(scale(), wanted=0).pass_by([load], held=True).wanted == 1
    assert Days(scale(), wanted=2).pass_by([None], held=True).story == []


def test_from_none_to_one_to_four_and_back_to_none():
    days = Days(scale(), wanted=0).pass_by([Load(held=1)]).pass_by(steady(1, 30)).pass_by(steady(20, 60))
    days.pass_by([QUIET] * 1000)
    counts = [count for _, count in days.story]
    top = counts.index(4)
    assert (counts[0], counts[top:][-1]) == (1, 0)
    assert counts == sorted(set(counts[: top + 1])) + sorted(set(counts[top + 1 :]), reverse=True)
    assert days.reasons[-1] == "No request for 900 s: none is kept."
    assert days.pass_by([QUIET] * 5000).story[len(counts) :] == []


def test_one_request_now_and_then_keeps_the_last_replica():
    looks = [Load(requests=second // 600) for second in range(6000)]
    assert Days(scale(), wanted=1).pass_by(looks).story == []


def test_a_short_idle_time_does_not_wait_for_the_cooldown():
    days = Days(scale(idle_time_before_scale_down=30), wanted=1).pass_by(steady(19, 10)).pass_by([QUIET] * 60)
    assert [count for _, count in days.story] == [4, 0]


def test_the_last_one_stays_where_the_minimum_says_so():
    days = Days(scale(min_instances=1), wanted=3).pass_by([QUIET] * 5000)
    assert [count for _, count in days.story] == [1]


def test_without_a_look_nothing_changes_and_no_time_counts_as_idle_or_rested():
    days = Days(scale(), wanted=3).pass_by([None] * 5000)
    assert days.story == []


def test_a_server_that_has_just_begun_takes_nothing_away_before_it_knows():
    days = Days(scale(), wanted=4).pass_by(steady(2, 299))
    assert days.story == []
    assert days.pass_by(steady(2, 5)).wanted == 1


def test_one_that_was_changed_lately_is_not_idle():
    days = Days(scale(), wanted=1).pass_by([QUIET] * 890)
    days.memory = days.memory.awake_at(later(880))
    assert days.pass_by([QUIET] * 800).story == []
    assert days.pass_by([QUIET] * 100).wanted == 0


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        (9, Decision(wanted=4, reason="scale_settings say at most 4.")),
        (1, Decision(wanted=2, reason="scale_settings say at least 2.")),
    ],
)
def test_what_the_settings_say_holds_at_once(wanted: int, made: Decision):
    _, decision = decide(scale(min_instances=2), Memory(since=NOON), None, wanted=wanted, held_at=None, now=later(1))
    assert decision == made


def test_never_more_than_the_maximum_whatever_waits():
    days = Days(scale(), wanted=1).pass_by([Load(in_flight=40, queued=5000)] * 10)
    assert days.story == [(1, 4)]


@pytest.mark.parametrize("concurrent", [1, 64])
@pytest.mark.parametrize("period", [1, 50, 97])
def test_what_is_remembered_stays_small(concurrent: int, period: int):
    days = Days(scale(concurrent=concurrent, cooldown=3600), wanted=1)
    days.pass_by(Load(in_flight=second % period) for second in range(5000))
    assert len(days.memory.looks) <= 11
    assert len(days.memory.needs) <= 5
