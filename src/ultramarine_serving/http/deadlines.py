"""One timer for the deadlines of many: to make and cancel one for each request costs as much as to parse it."""

from __future__ import annotations

import asyncio
from typing import Protocol

FOREVER = float("inf")
EARLY_S = 0.001  #: by so much a loop's timer may ring before its time


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
        self._timer, self._due = None, FOREVER
        over = self._loop.time() + EARLY_S
        for member in [each for each in self._members if each.deadline <= over]:
            member.deadline = FOREVER
            member.time_out()
        first = min((each.deadline for each in self._members), default=FOREVER)
        if first < self._due:
            self._ring_at(first)
