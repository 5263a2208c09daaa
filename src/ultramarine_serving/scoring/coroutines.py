"""A thread with an event loop of its own: an async `run()` that blocks does not stop the server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .turns import clock
from .worker import settle, stack_of

T = TypeVar("T")


class Coroutines:
    """Does several calls at once, each a task of the loop, `concurrent_max` at most. One whose future is done is ended.

    What `step` is given goes on beside them: the parts of an answer whose call took a place already.
    """

    def __init__(self, server: asyncio.AbstractEventLoop, *, concurrent_max: int | None) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._concurrent_max = concurrent_max
        self._places: asyncio.Semaphore | None = None
        self._begun: dict[asyncio.Task[None], float] = {}
        self._thread = threading.Thread(target=self._run, name="scoring-async", daemon=True)
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """How long the oldest call that is going on has lasted; 0 while there is none."""
        begun = list(self._begun.values())
        return clock() - min(begun) if begun else 0.0

    def where(self) -> str:
        """The stacks of the calls that are going on, the oldest first."""
        if not self._begun:
            return stack_of(self._thread)
        written = io.StringIO()
        for task in list(self._begun):
            task.print_stack(file=written)
        return f"{written.getvalue()}The thread itself:\n{stack_of(self._thread)}"

    def submit(self, call: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Do the call when a place is free."""
        return self._start(self._placed, call)

    def step(self, call: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Do the call at once."""
        return self._start(self._timed, call)

    def wait(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do the call, from another thread, which waits for it."""

        async def done() -> T:
            return await call()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _start(
        self, do: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]], call: Callable[[], Awaitable[Any]]
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._server.create_future()
        tasks: list[asyncio.Task[None]] = []

        async def whole() -> None:
            result, error = None, None
            try:
                if not future.done():
                    result = await do(call)
            except BaseException as raised:  # SystemExit would end the loop
                error = raised
            with contextlib.suppress(RuntimeError):  # the server's loop is closed: the process is ending
                self._server.call_soon_threadsafe(settle, future, result, error)

        def end(_: asyncio.Future[Any]) -> None:
            if tasks and not tasks[0].done():  # answered otherwise, or its client has gone
                self._loop.call_soon_threadsafe(tasks[0].cancel)

        self._loop.call_soon_threadsafe(lambda: tasks.append(self._loop.create_task(whole())))
        future.add_done_callback(end)
        return future

    async def _placed(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._concurrent_max is None:
            return await self._timed(call)
        if self._places is None:  # made here, for it belongs to the loop that is running
            self._places = asyncio.Semaphore(self._concurrent_max)
        async with self._places:
            return await self._timed(call)

    async def _timed(self, call: Callable[[], Awaitable[Any]]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._begun[task] = clock()
        try:
            return await call()
        finally:
            del self._begun[task]
