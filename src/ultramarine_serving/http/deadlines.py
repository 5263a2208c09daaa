"""One timer for the deadlines of many: to make and cancel one for each request costs as much as to parse it."""

from __future__ import annotations

import asyncio
from typing import Protocol

FOREVER = float("inf")
JUDGED_S = 0.001  #: after the timer has rung: what has come is read in between


class TimesOut(Protocol):
    """What has a deadline at times; `time_out` is called once it has passed."""

    deadline: float

    def time_out(self) -> None: ...


class Deadlines:
    """Of those that were added. The timer is set while one of them has a deadline, and rings for the first of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[TimesOut] = set()
        self._due = FOREVER
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: TimesOut) -> None:
        self._members.add(member)

    def discard(self, member: TimesOut) -> None:
        self._members.discard(member)

    def set(self, member: TimesOut, seconds: float) -> None:
        """From now on. It is lifted by the member itself: it sets its deadline to FOREVER."""
        member.deadline = due = self._loop.time() + seconds
        if due < self._due:
            self._ring_at(due)

    def _ring_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        """Timers come first in a turn of the loop: where it was us who were held up, answers are there to be read."""
        self._timer = self._loop.call_later(JUDGED_S, self._judge)

    def _judge(self) -> None:
        self._timer, self._due = None, FOREVER
        now = self._loop.time()
        for member in [each for each in self._members if each.deadline <= now]:
            member.deadline = FOREVER
            member.time_out()
        first = min((each.deadline for each in self._members), default=FOREVER)
        if first < self._due:
            self._ring_at(first)
