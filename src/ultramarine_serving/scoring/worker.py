"""One thread that does one call after the other, so that the event loop goes on answering meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from .turns import clock

T = TypeVar("T")


class Worker:
    """A daemon thread: a call that never returns does not keep the process from ending.

    Leaner than an executor (about 30 µs a call less), and always the same thread, which some libraries insist on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._begun_at = 0.0
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """How long the call that is going on has lasted; 0 while there is none."""
        begun_at = self._begun_at
        return clock() - begun_at if begun_at else 0.0

    def where(self) -> str:
        """The stack of the call that is going on."""
        return stack_of(self._thread)

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Do the call after those before it. It is left out when the future is done before its turn."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.done():
                continue
            self._begun_at = clock()
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # a script may raise SystemExit: it must not end this thread
                error = raised
            self._begun_at = 0.0
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(settle, future, result, error)


def stack_of(thread: threading.Thread) -> str:
    """Where a thread is, as in a traceback."""
    look: Any = getattr(sys, "_current_frames")  # noqa: B009  # public in all but its name
    frame = look().get(thread.ident)
    return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "The thread has ended."


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future what its call returned or raised, unless somebody has settled it already."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot hold one
        future.set_exception(RuntimeError(f"raised StopIteration: {error}"))
    else:
        future.set_exception(error)
