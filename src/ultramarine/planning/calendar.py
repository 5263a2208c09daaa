"""When schedules of start and stop are due: cron's expressions and recurrences, in a time zone, across its changes.

Where clocks go forward, a moment that does not exist comes as soon as there is one again; where they go back, one that
exists twice comes the first time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from dateutil.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, WEEKLY, rrule
from tzlocal.windows_tz import win_tz

from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.start_stop import StartStop, StartStopTrigger

FIELDS = 5  #: of a cron expression: minute, hour, day of month, month, day of week
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FREQUENCIES: Mapping[str, Literal[1, 2, 3, 4, 5]] = {
    "minute": MINUTELY,
    "hour": HOURLY,
    "day": DAILY,
    "week": WEEKLY,
    "month": MONTHLY,
}
STEPS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}  #: months differ
MAY_NAME = {"day": (), "week": ("week_days",), "month": ("month_days",)}  #: beside hours and minutes
FIELD = "schedules.compute_start_stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    at: datetime
    action: Literal["start", "stop"]


def due(schedules: Sequence[StartStop], *, after: datetime, now: datetime, made_at: datetime) -> Moment | None:
    """The last moment after `after`, up to `now`. What was missed before it is not made up for.

    `made_at`: from when recurrences count that do not say so themselves.
    """
    return _pick(schedules, lambda trigger: _last(trigger, now, made_at), max, lambda at: after < at)


def coming(schedules: Sequence[StartStop], *, now: datetime, made_at: datetime) -> Moment | None:
    """The next moment after `now`."""
    return _pick(schedules, lambda trigger: _next(trigger, now, made_at), min, lambda _: True)


def check(schedules: Sequence[StartStop]) -> None:
    """Raise `InvalidInput` for an expression or a time zone that nothing can be made of."""
    for number, each in enumerate(schedules):
        where = f"{FIELD}[{number}].trigger"
        zone_of(each.trigger.time_zone, field=f"{where}.time_zone")
        if each.trigger.expression is not None:
            _check_expression(each.trigger.expression, field=f"{where}.expression")
        _check_recurrence(each.trigger, field=where)


def zone_of(name: str, *, field: str = "time_zone") -> ZoneInfo:
    """By its name of IANA's (`Europe/Berlin`) or of Windows, which Azure writes (`W. Europe Standard Time`)."""
    try:
        return ZoneInfo(win_tz.get(name, name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"{field}: there is no time zone {name[:80]!r}.",
            hint="Write one as Europe/Berlin, America/New_York or UTC, or as Windows does: W. Europe Standard Time.",
        ) from None


def _pick(
    schedules: Sequence[StartStop],
    find: Callable[[StartStopTrigger], datetime | None],
    choose: Callable[[Sequence[tuple[datetime, int]]], tuple[datetime, int]],
    is_wanted: Callable[[datetime], bool],
) -> Moment | None:
    """Of all that are enabled; of two at the same moment the one that was written last."""
    found = [(find(each.trigger), number, each) for number, each in enumerate(schedules) if each.state == "enabled"]
    wanted = {(at, number): each for at, number, each in found if at is not None and is_wanted(at)}
    if not wanted:
        return None
    at = choose(list(wanted))[0]
    return Moment(at=at, action=wanted[max(key for key in wanted if key[0] == at)].action)


def _last(trigger: StartStopTrigger, now: datetime, made_at: datetime) -> datetime | None:
    zone = zone_of(trigger.time_zone)
    begin, end = _in_zone(trigger.start_time, zone), _in_zone(trigger.end_time, zone)
    until = now if end is None else min(now, end)
    if trigger.expression is not None:
        found = _last_of_cron(trigger.expression, until.astimezone(zone))
    else:
        local = until.astimezone(zone).replace(tzinfo=None)
        # An hour more: where clocks have gone back, a moment of before has a later face.
        among = _recurring(trigger, zone, local, made_at).between(local - _back(trigger), local + timedelta(hours=1))
        found = max((at for each in among if (at := _real(each, zone)) <= until), default=None)
    return found if found is None or begin is None or begin <= found else None


def _back(trigger: StartStopTrigger) -> timedelta:
    """How far before now one of them is for certain, where it comes at all."""
    return timedelta(days=8 * 366) if trigger.frequency == "month" else 3 * trigger.interval * STEPS[_of(trigger)]


def _next(trigger: StartStopTrigger, now: datetime, made_at: datetime) -> datetime | None:
    zone = zone_of(trigger.time_zone)
    begin, end = _in_zone(trigger.start_time, zone), _in_zone(trigger.end_time, zone)
    after = now if begin is None else max(now, begin - timedelta(microseconds=1))
    if trigger.expression is not None:
        found = next(iter(CronSim(trigger.expression, after.astimezone(zone))), None)
    else:
        local = after.astimezone(zone).replace(tzinfo=None)
        rule = _recurring(trigger, zone, local, made_at)
        found = next((at for each in rule.xafter(local, count=9) if (at := _real(each, zone)) > after), None)
    if found is None or (end is not None and end < found):
        return None
    return found.astimezone(UTC)


def _last_of_cron(expression: str, until: datetime) -> datetime | None:
    """The last one up to a moment."""
    found = next(iter(CronSim(expression, until + timedelta(seconds=1), reverse=True)), None)
    if until.fold:  # what came in this hour for the first time has a later face than now: it is found forwards alone
        for at in CronSim(expression, until - timedelta(hours=3) if found is None else found):
            if at.astimezone(UTC) > until.astimezone(UTC):
                break
            found = at
    return None if found is None else found.astimezone(UTC)


def _recurring(trigger: StartStopTrigger, zone: ZoneInfo, local: datetime, made_at: datetime) -> rrule:
    """By the clock on the wall, begun not long before `local`: it is counted through from its begin."""
    given = trigger.start_time or made_at.astimezone(zone)
    begin = (given.astimezone(zone) if given.tzinfo else given).replace(tzinfo=None, microsecond=0)
    pattern, frequency = trigger.schedule, _of(trigger)
    if (step := STEPS.get(frequency)) is not None:
        passed = (local - begin) // (trigger.interval * step) - 4
        begin += max(0, passed) * trigger.interval * step
    if pattern is None:
        return rrule(FREQUENCIES[frequency], dtstart=begin, interval=trigger.interval)
    days = None if pattern.week_days is None else [DAYS.index(day) for day in pattern.week_days]
    return rrule(
        FREQUENCIES[frequency],
        dtstart=begin,
        interval=trigger.interval,
        byhour=pattern.hours,
        byminute=pattern.minutes,
        bysecond=0,
        byweekday=days,
        bymonthday=pattern.month_days,
    )


def _of(trigger: StartStopTrigger) -> str:
    assert trigger.frequency is not None, "a recurrence has one"
    return trigger.frequency


def _in_zone(given: datetime | None, zone: ZoneInfo) -> datetime | None:
    """What stands without a zone of its own is in the trigger's."""
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=zone)


def _real(local: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows, as a moment; of one that it never shows, the first that it shows after it."""
    at = local.replace(tzinfo=zone)
    if at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        return at.astimezone(UTC)
    return next(_whole_minutes(local, zone))


def _whole_minutes(local: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Those after `local` that there are."""
    minute = local.replace(second=0)
    while True:
        minute += timedelta(minutes=1)
        at = minute.replace(tzinfo=zone).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == minute:
            yield at


def _check_expression(expression: str, *, field: str) -> None:
    hint = 'Five fields: minute, hour, day of month, month, day of week, e.g. "0 19 * * 1-5".'
    if len(expression.split()) != FIELDS:
        raise InvalidInput(f"{field}: {expression[:80]!r} has {len(expression.split())} fields, not 5.", hint=hint)
    try:
        comes = next(iter(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC))), None)
    except CronSimError as error:
        raise InvalidInput(f"{field}: {expression[:80]!r} cannot be read: {error}.", hint=hint) from None
    if comes is None:
        raise InvalidInput(f"{field}: {expression[:80]!r} never comes.", hint=hint)


def _check_recurrence(trigger: StartStopTrigger, *, field: str) -> None:
    if (pattern := trigger.schedule) is None:
        return
    frequency = _of(trigger)
    if frequency not in MAY_NAME:
        raise InvalidInput(
            f"{field}.schedule: with frequency {frequency} there are no hours and minutes to choose.",
            hint="Leave schedule out, or write frequency: day, week or month.",
        )
    for name in ("week_days", "month_days"):
        if getattr(pattern, name) is not None and name not in MAY_NAME[frequency]:
            raise InvalidInput(
                f"{field}.schedule.{name}: it does not go with frequency {frequency}.",
                hint="week_days go with frequency: week, month_days with frequency: month.",
            )
