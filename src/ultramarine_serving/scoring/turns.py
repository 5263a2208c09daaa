"""How long a request may wait for its turn, and how long its call may last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Answered = TypeVar("Answered")

_STEP_MAX_S = 0.25
_STEP_MIN_S = 0.01
_DIGITS_MAX = 12

clock = time.monotonic


class Full(Exception):
    """As many requests wait as may."""


class WaitedTooLong(Exception):
    """Its turn did not come within the time that it may wait."""


class TookTooLong(Exception):
    """Its call goes on for longer than it may."""


@dataclass
class Patience:
    """Limits in seconds; infinity is none."""

    wait_max_s: float = float("inf")  # from its arrival to the beginning of its call
    call_max_s: float = float("inf")

    def hear(self, timeout_ms: bytes) -> None:
        """The gateway says with each request how long its deployment lets a call last, which may change at any time.

        The newest word counts for all calls. What is no number, or nothing, changes nothing.
        """
        if timeout_ms.isdigit() and len(timeout_ms) < _DIGITS_MAX and (seconds := int(timeout_ms) / 1000) > 0:
            self.call_max_s = seconds

    @property
    def step_s(self) -> float:
        """How often to look whether a limit is passed: a tenth of the shortest."""
        return max(_STEP_MIN_S, min(_STEP_MAX_S, self.wait_max_s / 10, self.call_max_s / 10))


class Watch:
    """Calls `look` again and again until it says that nothing is left. One timer for all requests, none while idle."""

    def __init__(self, look: Callable[[], bool], *, step_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._look = look
        self._step_s = step_s
        self._loop = loop
        self._is_set = False

    def begin(self) -> None:
        """There is something to look at."""
        if not self._is_set:
            self._is_set = True
            self._loop.call_later(self._step_s, self._tick)

    def _tick(self) -> None:
        self._is_set = False
        if self._look():
            self.begin()


class Turn:
    """One request's turn. Whoever does its call says when it begins, in whatever thread that is."""

    __slots__ = ("begun_at", "since")

    def __init__(self) -> None:
        self.since = clock()
        self.begun_at = 0.0

    def begin(self) -> None:
        self.begun_at = clock()


class Turns(Generic[Answered]):
    """Requests that were given to a worker, each within its time. What outlasts it is answered with what `refuse` says.

    `refuse` is given `WaitedTooLong` or `TookTooLong`.
    """

    def __init__(
        self,
        refuse: Callable[[BaseException], Answered],
        *,
        patience: Patience,
        waiting_max: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._refuse = refuse
        self._patience = patience
        self._waiting_max = waiting_max
        self._turns: dict[asyncio.Future[Answered], Turn] = {}  # in order of arrival
        self.count = 0  #: of all that there were
        self._watch = Watch(self._look, step_s=patience.step_s, loop=loop)

    def submit(self, start: Callable[[Turn], asyncio.Future[Answered]]) -> asyncio.Future[Answered]:
        """Give a call to its worker; the future is `start`'s own.

        Raises:
            Full: as many wait or are in work as may.
        """
        if len(self._turns) >= self._waiting_max:
            raise Full
        self.count += 1
        turn = Turn()
        future = start(turn)
        self._turns[future] = turn
        future.add_done_callback(self._turns.pop)
        self._watch.begin()
        return future

    def waiting_and_begun(self) -> tuple[int, int]:
        """How many wait for their turn, and how many have it."""
        begun = sum(turn.begun_at > 0 for turn in self._turns.values())
        return len(self._turns) - begun, begun

    def _look(self) -> bool:
        now = clock()
        for future, turn in list(self._turns.items()):
            if future.done():  # its callback is about to take it away
                continue
            if turn.begun_at:
                if now - turn.begun_at > self._patience.call_max_s:
                    future.set_result(self._refuse(TookTooLong()))
            elif now - turn.since > self._patience.wait_max_s:
                future.set_result(self._refuse(WaitedTooLong()))
            else:
                break  # those behind it came later
        return bool(self._turns)
