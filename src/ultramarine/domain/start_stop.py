"""When a compute instance starts and stops by itself: Azure ML's `schedules.compute_start_stop`."""

from datetime import datetime
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from ultramarine.domain.spec import Spec

UTC_NAME = "UTC"


def _lower(value: object) -> object:
    """Azure ML's files say `week`, its REST bodies `Week`."""
    return value.lower() if isinstance(value, str) else value


def _several(value: object) -> object:
    """One alone may stand without brackets."""
    return [value] if isinstance(value, int | str) else value


def _several_days(value: object) -> object:
    several = _several(value)
    return [_lower(each) for each in cast("list[object]", several)] if isinstance(several, list) else several


Hour = Annotated[int, Field(ge=0, le=23)]
Minute = Annotated[int, Field(ge=0, le=59)]
MonthDay = Annotated[int, Field(ge=1, le=31)]
WeekDay = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class RecurrencePattern(Spec):
    """At which hours and minutes, on which days."""

    hours: Annotated[list[Hour], BeforeValidator(_several), Field(min_length=1)]
    minutes: Annotated[list[Minute], BeforeValidator(_several), Field(min_length=1)]
    week_days: Annotated[list[WeekDay], BeforeValidator(_several_days)] | None = None
    month_days: Annotated[list[MonthDay], BeforeValidator(_several)] | None = None


class StartStopTrigger(Spec):
    """Cron's five fields, or every so many hours, days, weeks."""

    type: Annotated[Literal["cron", "recurrence"], BeforeValidator(_lower)]
    expression: str | None = None
    frequency: Annotated[Literal["minute", "hour", "day", "week", "month"], BeforeValidator(_lower)] | None = None
    interval: int = Field(default=1, ge=1, le=1000)
    schedule: RecurrencePattern | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    time_zone: str = UTC_NAME

    @model_validator(mode="after")
    def _whole(self) -> "StartStopTrigger":
        if self.type == "cron" and self.expression is None:
            raise ValueError('a trigger of type cron needs an expression, e.g. "0 19 * * 1-5"')
        if self.type == "cron" and (self.frequency is not None or self.schedule is not None):
            raise ValueError("frequency and schedule are for type: recurrence; type cron has an expression")
        if self.type == "recurrence" and self.frequency is None:
            raise ValueError("a trigger of type recurrence needs a frequency: minute, hour, day, week or month")
        if self.type == "recurrence" and self.expression is not None:
            raise ValueError("expression is for type: cron; type recurrence has a frequency and an interval")
        return self


class StartStop(Spec):
    """One of them."""

    action: Annotated[Literal["start", "stop"], BeforeValidator(_lower)]
    trigger: StartStopTrigger
    state: Annotated[Literal["enabled", "disabled"], BeforeValidator(_lower)] = "enabled"


class InstanceSchedules(Spec):
    """Those of one instance."""

    compute_start_stop: list[StartStop] = Field(default_factory=list[StartStop], max_length=50)
