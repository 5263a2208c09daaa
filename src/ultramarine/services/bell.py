"""Waking those that wait for news."""

import asyncio


class Bell:
    """Rung at each write or report. Who waits is woken by the next ring.

    A ring while nobody waits is not lost on those who remember the `count` that they have last seen.
    """

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.count = 0

    def ring(self) -> None:
        self.count += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def after(self, count: int, *, timeout_s: float) -> int:
        """Wait until it has rung more often than `count`, or for `timeout_s`. How often it has rung now."""
        if self.count == count:
            try:
                await asyncio.wait_for(self._rung.wait(), timeout_s)
            except TimeoutError:
                pass
        return self.count


class Followed:
    """How far a loop has followed a bell: what was written before a ring is done with once a later turn has ended."""

    def __init__(self) -> None:
        self._went_on = Bell()
        self._until: int | None = None  #: None: no loop has followed it here yet

    def until(self, count: int) -> None:
        """A turn has ended that had begun when the bell had rung so often."""
        self._until = count
        self._went_on.ring()

    async def after(self, count: int, *, timeout_s: float) -> None:
        """Wait until ring `count` was followed, or for `timeout_s`; not at all where nothing follows."""
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        while self._until is not None and self._until < count and (left_s := deadline - now()) > 0:
            await self._went_on.after(self._went_on.count, timeout_s=left_s)
