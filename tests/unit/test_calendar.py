"""When a schedule is due: cron and recurrences, time zones of both kinds of names, clocks that go forward and back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.instance import InstanceSpec
from ultramarine.domain.start_stop import StartStop
from ultramarine.planning.calendar import Moment, check, coming, due

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(action: str = "stop", state: str = "enabled", **trigger: Any) -> StartStop:
    return StartStop.model_validate({"action": action, "state": state, "trigger": trigger})


def cron(expression: str, zone: str = "Europe/Berlin", action: str = "stop", **more: Any) -> StartStop:
    return schedule(action, type="cron", expression=expression, time_zone=zone, **more)


def moments(each: StartStop, begin: str, end: str, *, step_s: int = 1800) -> list[str]:
    """As a loop finds them that looks every half hour."""
    found: list[str] = []
    now, after = at(begin), at(begin)
    while now <= at(end):
        if (moment := due([each], after=after, now=now, made_at=MADE)) is not None:
            assert now - moment.at < timedelta(seconds=step_s), "it is found as soon as it is due"
            found.append(f"{moment.at:%d %H:%M}")
            after = moment.at
        now += timedelta(seconds=step_s)
    return found


@pytest.mark.parametrize("zone", ["Europe/Berlin", "W. Europe Standard Time"])
def test_the_evening_stays_the_evening_when_clocks_change(zone: str) -> None:
    evening = cron("0 19 * * *", zone)
    assert moments(evening, "2026-03-27T12:00", "2026-03-30T12:00") == ["27 18:00", "28 18:00", "29 17:00"]
    assert moments(evening, "2026-10-23T12:00", "2026-10-26T12:00") == ["23 17:00", "24 17:00", "25 18:00"]


RECURRING = {"type": "recurrence", "frequency": "day", "time_zone": "Europe/Berlin"}


@pytest.mark.parametrize("each", [cron("30 2 * * *"), schedule(**RECURRING, schedule={"hours": 2, "minutes": [30]})])
def test_a_moment_that_does_not_exist_comes_right_after_and_one_that_exists_twice_comes_once(each: StartStop) -> None:
    assert moments(each, "2026-03-28T12:00", "2026-03-30T12:00") == ["29 01:00", "30 00:30"]  # 3:00 in summer
    assert moments(each, "2026-10-24T12:00", "2026-10-26T12:00") == ["25 00:30", "26 01:30"]


@pytest.mark.parametrize("each", [cron("30 2 * * *"), schedule(**RECURRING, schedule={"hours": 2, "minutes": [30]})])
def test_a_server_that_comes_back_in_the_hour_that_is_twice_makes_up_for_the_first_time(each: StartStop) -> None:
    """It is 2:10 for the second time; 2:30 was there before, though the clock shows less now."""
    found = due([each], after=at("2026-10-24T12:00"), now=at("2026-10-25T01:10"), made_at=MADE)
    assert found == Moment(at=at("2026-10-25T00:30"), action="stop")


def test_of_several_missed_the_latest_is_made_up_for_once() -> None:
    both = [cron("0 8 * * *", "UTC", "start"), cron("0 19 * * *", "UTC", "stop")]
    late = due(both, after=at("2026-05-04T00:00"), now=at("2026-05-08T10:00"), made_at=MADE)
    assert late is not None
    assert late == Moment(at=at("2026-05-08T08:00"), action="start")
    assert due(both, after=late.at, now=at("2026-05-08T10:00"), made_at=MADE) is None
    assert due(both, after=late.at, now=at("2026-05-08T18:59"), made_at=MADE) is None
    evening = due(both, after=late.at, now=at("2026-05-08T19:00"), made_at=MADE)
    assert evening == Moment(at=at("2026-05-08T19:00"), action="stop")


def test_of_two_at_the_same_moment_the_one_that_is_written_last_wins() -> None:
    both = [cron("0 8 * * *", "UTC", "start"), cron("0 8 * * *", "UTC", "stop")]
    assert due(both, after=MADE, now=at("2026-01-01T08:00"), made_at=MADE) == Moment(
        at=at("2026-01-01T08:00"), action="stop"
    )


def test_work_days_alone_and_nothing_that_is_disabled() -> None:
    assert moments(cron("0 19 * * 1-5", "UTC"), "2026-05-08T12:00", "2026-05-11T20:00") == ["08 19:00", "11 19:00"]
    off = schedule(state="disabled", type="cron", expression="* * * * *")
    assert due([off], after=MADE, now=at("2026-05-08T12:00"), made_at=MADE) is None


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"frequency": "hour", "interval": 6}, ["01 00:00", "01 06:00", "01 12:00", "01 18:00", "02 00:00"]),
        ({"frequency": "day", "interval": 2, "schedule": {"hours": [7], "minutes": [0, 30]}}, ["02 07:00", "02 07:30"]),
        ({"frequency": "week", "schedule": {"hours": 7, "minutes": 0, "week_days": ["Saturday"]}}, ["02 07:00"]),
        ({"frequency": "month", "schedule": {"hours": 7, "minutes": 0, "month_days": [1]}}, ["01 07:00"]),
        ({"frequency": "Week"}, []),
    ],
)
def test_recurrences_count_from_when_the_instance_was_made(trigger: dict[str, Any], expected: list[str]) -> None:
    """2026-05-02 is a Saturday, an even number of days after it was made on 2026-01-02."""
    each, made = schedule(type="recurrence", **trigger), datetime(2026, 1, 2, tzinfo=UTC)
    found: list[str] = []
    after, now = at("2026-04-30T23:50"), at("2026-04-30T23:50")
    while now < at("2026-05-02T08:00") and len(found) < 9:
        if (moment := due([each], after=after, now=now, made_at=made)) is not None:
            found.append(f"{moment.at:%d %H:%M}")
            after = moment.at
        now += timedelta(minutes=10)
    assert found[: len(expected) or None] == (expected or ["01 00:00"])


def test_nothing_is_due_before_its_start_time_or_after_its_end_time() -> None:
    each = cron("0 19 * * *", start_time="2026-05-02T00:00:00", end_time="2026-05-03T19:00:00")
    assert moments(each, "2026-05-01T12:00", "2026-05-05T12:00") == ["02 17:00", "03 17:00"]
    daily = schedule(type="recurrence", frequency="day", start_time="2026-05-02T10:00:00", time_zone="Asia/Tokyo")
    assert moments(daily, "2026-05-01T12:00", "2026-05-03T12:00") == ["02 01:00", "03 01:00"]


def test_the_next_one_is_known() -> None:
    both = [cron("0 8 * * *", "UTC", "start"), cron("0 19 * * *", "UTC", "stop")]
    found = coming(both, now=at("2026-05-08T10:00"), made_at=MADE)
    assert found == Moment(at=at("2026-05-08T19:00"), action="stop")
    weekly = schedule("start", type="recurrence", frequency="week", start_time="2026-06-01T09:00:00")
    found = coming([weekly], now=at("2026-05-08T10:00"), made_at=MADE)
    assert found == Moment(at=at("2026-06-01T09:00"), action="start")
    assert coming([], now=MADE, made_at=MADE) is None


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"type": "cron", "expression": "0 19 * *"}, "has 4 fields, not 5"),
        ({"type": "cron", "expression": "0 25 * * *"}, "'0 25 * * *' cannot be read: Bad hour"),
        ({"type": "cron", "expression": "0 0 31 2 *"}, "'0 0 31 2 *' cannot be read"),
        ({"type": "cron", "expression": "0 0 * * *", "time_zone": "Berlin"}, "there is no time zone 'Berlin'"),
        ({"type": "cron", "expression": "0 0 * * *", "time_zone": "../etc/passwd"}, "there is no time zone"),
        ({"type": "recurrence", "frequency": "hour", "schedule": {"hours": 1, "minutes": 0}}, "no hours and minutes"),
        (
            {
                "type": "recurrence",
                "frequency": "day",
                "schedule": {"hours": 1, "minutes": 0, "week_days": ["monday"]},
            },
            "week_days: it does not go with frequency day",
        ),
    ],
)
def test_what_nothing_can_be_made_of_is_refused_with_its_place(trigger: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check([cron("0 0 * * *"), schedule(**trigger)])
    assert said in str(refused.value)
    assert str(refused.value).startswith("schedules.compute_start_stop[1].trigger")
    assert refused.value.hint


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"type": "cron"}, "needs an expression"),
        ({"type": "recurrence"}, "needs a frequency"),
        ({"type": "cron", "expression": "0 0 * * *", "frequency": "day"}, "type cron has an expression"),
        ({"type": "recurrence", "frequency": "day", "expression": "0 0 * * *"}, "expression is for type: cron"),
    ],
)
def test_the_two_kinds_of_triggers_are_told_apart(trigger: dict[str, Any], said: str) -> None:
    body = {"name": "i", "size": "cpu-1", "schedules": {"compute_start_stop": [{"action": "stop", "trigger": trigger}]}}
    with pytest.raises(InvalidInput, match=said):
        InstanceSpec.read(body, what="the compute")
