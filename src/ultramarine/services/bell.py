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
