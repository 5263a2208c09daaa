"""Zero-wait micro-batching: whatever waits while the model is busy becomes one call.

Nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .turns import Full, Patience, TookTooLong, WaitedTooLong, Watch, clock
from .worker import Worker

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_FIRST_CALL_S = 0.1  # how long calls take is smoothed; before the first they count as slow
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Limits:
    """What one call may hold, and how many requests may wait."""

    rows_max: int  # of all requests in one call; one request of more rows goes alone
    requests_max: int  # in one call; 1 for models that are not row-wise
    waiting_max: int
    # A model whose calls take longer than this is called in the worker's thread, so that liveness and new connections
    # are answered meanwhile; a quicker one is called right in the loop: no thread has to be woken, and the two do not
    # take the interpreter from each other. benchmarks/serving measures both.
    inline_max_s: float
    patience: Patience


@dataclass(eq=False)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    kind: Hashable  # only requests of one kind are put together
    rows: int
    since: float
    future: asyncio.Future[Answered]


class Batcher(Generic[Asked, Answered]):
    """Calls `answer` with what waits, one call at a time. When a call of several fails, each is tried alone.

    `answer` gives one answer for each, in order. What it raises for a request that is alone goes to `refuse` with it,
    and so do `WaitedTooLong` and `TookTooLong`; a call that is done right in the loop cannot be cut short.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answered]],
        refuse: Callable[[Asked, BaseException], Answered],
        *,
        limits: Limits,
        worker: Worker,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._answer = answer
        self._refuse = refuse
        self._limits = limits
        self._worker = worker
        self._loop = loop
        self._waiting: deque[_Waiting[Asked, Answered]] = deque()
        self._in_work: Sequence[_Waiting[Asked, Answered]] = ()  # in the worker
        self._watch = Watch(self._look, step_s=limits.patience.step_s, loop=loop)
        self._is_due = False  # a call is going on, or is about to begin
        self._call_s = _FIRST_CALL_S
        self.calls = 0
        self.requests = 0  #: in those calls

    @property
    def waiting(self) -> int:
        """How many requests wait for a call."""
        return len(self._waiting)

    @property
    def in_work(self) -> int:
        """How many are in the call that goes on in the worker."""
        return len(self._in_work)

    def submit(self, asked: Asked, *, kind: Hashable, rows: int) -> asyncio.Future[Answered]:
        """Answer as soon as the model is free.

        Raises:
            Full: too many wait already.
        """
        if len(self._waiting) >= self._limits.waiting_max:
            raise Full
        future: asyncio.Future[Answered] = self._loop.create_future()
        self._waiting.append(_Waiting(asked=asked, kind=kind, rows=rows, since=clock(), future=future))
        self._watch.begin()
        if not self._is_due:
            self._is_due = True
            # Not at once: requests that came in by the same turn of the loop are then in the same call.
            self._loop.call_soon(self._begin)
        return future

    def _begin(self) -> None:
        batch = self._take()
        if not batch:
            self._is_due = False
            return
        self.calls += 1
        self.requests += len(batch)
        is_large = batch[0].rows > self._limits.rows_max
        if self._call_s > self._limits.inline_max_s or is_large:
            self._in_work = batch
            self._worker.submit(lambda: self._timed(batch)).add_done_callback(
                lambda done: self._end(batch, done.result())
            )
        else:
            self._end(batch, self._timed(batch))

    def _end(self, batch: Sequence[_Waiting[Asked, Answered]], outcomes: Sequence[Answered]) -> None:
        self._in_work = ()
        for waiting, outcome in zip(batch, outcomes):
            if not waiting.future.done():  # done already: its client has gone
                waiting.future.set_result(outcome)
        if self._waiting:
            self._loop.call_soon(self._begin)
        else:
            self._is_due = False

    def _take(self) -> list[_Waiting[Asked, Answered]]:
        """The next call: from the front, as long as they are of one kind and within the limits."""
        batch: list[_Waiting[Asked, Answered]] = []
        rows = 0
        while self._waiting:
            first = self._waiting[0]
            if first.future.done():
                self._waiting.popleft()
                continue
            rows += first.rows
            is_full = len(batch) >= self._limits.requests_max or rows > self._limits.rows_max
            if batch and (is_full or first.kind != batch[0].kind):
                break
            batch.append(self._waiting.popleft())
        return batch

    def _look(self) -> bool:
        """Refuse what has waited, or goes on, for too long. True while there is anything to look at."""
        patience = self._limits.patience
        latest = clock() - patience.wait_max_s
        while self._waiting and self._waiting[0].since < latest:
            self._give_up(self._waiting.popleft(), WaitedTooLong())
        if self._worker.busy_s > patience.call_max_s:
            for waiting in self._in_work:
                self._give_up(waiting, TookTooLong())
        return bool(self._waiting or self._in_work)

    def _give_up(self, waiting: _Waiting[Asked, Answered], error: BaseException) -> None:
        if not waiting.future.done():
            waiting.future.set_result(self._refuse(waiting.asked, error))

    def _timed(self, batch: Sequence[_Waiting[Asked, Answered]]) -> Sequence[Answered]:
        begun = time.perf_counter()
        outcomes = self._outcomes([waiting.asked for waiting in batch])
        self._call_s += _SMOOTHING * (time.perf_counter() - begun - self._call_s)
        return outcomes

    def _outcomes(self, asked: Sequence[Asked]) -> Sequence[Answered]:
        try:
            return self._answer(asked)
        except BaseException as error:  # a model's code may raise anything, and one request must not end the server
            if len(asked) == 1:
                return [self._refuse(asked[0], error)]
            # One bad row fails alone: the others must not hear of it.
            return [outcome for one in asked for outcome in self._outcomes([one])]
