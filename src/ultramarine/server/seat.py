"""Which of the servers of one PostgreSQL leads: who holds a lease there, on the database's clock.

The leader counts on its own clock, and a little less: who stood still, or does not reach the database, knows by itself
that it leads no more, before another may. It answers nobody from then on, so that its nodes' leases run out too.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from ultramarine.domain.errors import StandsBy, UltramarineError, Unavailable
from ultramarine.store import leases
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate

TTL = timedelta(seconds=15)
OURS_S = 12.0  #: since we asked for it: less than `TTL`
WATCH_S = TTL.total_seconds()  #: that the database must have answered us, and its leader been silent, until we follow
LATE = Unavailable(
    "This server has stood still, or did not reach its database, for so long that another may lead by now.",
    hint="Ask again in a moment: it finds out.",
)


class Lost(Exception):
    """Another server has led meanwhile: what we remember is not the truth any more."""


def boot_s() -> float:
    """Seconds since boot, those included in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Seat:
    """`why`: in which words those are refused who ask while it is not ours."""

    def __init__(self, url: str, *, owner: str, clock: Callable[[], float] = boot_s) -> None:
        self._db, self._owner, self._clock = AsyncDatabase(url), owner, clock
        self._url = url  #: until the lease's table is known to be there
        self._until = self._watched_since = 0.0
        self._generation: int | None = None
        self.why: UltramarineError = Unavailable("The server is starting.", hint="Ask again in a moment.")

    @property
    def is_ours(self) -> bool:
        return self._clock() < self._until

    async def take(self) -> bool:
        """Take or keep it, if it is free or ours. Raises `Unavailable`, and `Lost` when it was another's since."""
        asked = self._clock()
        try:
            if self._url:
                await asyncio.to_thread(migrate, self._url)
                self._url = ""
            held, leader = await self._asked(asked)
        except Unavailable as away:
            # After an outage its leader comes first: who was as cut off as we were may still be well.
            self.why, self._watched_since = away, 0.0
            raise
        self._watched_since = self._watched_since or asked
        if held is None:
            self.why = _stands_by(leader)
        if self._generation not in (None, held):
            raise Lost
        if held is None:
            return False
        self._generation, self._until, self.why = held, asked + OURS_S, LATE
        return True

    async def close(self) -> None:
        await self._db.close()

    async def _asked(self, now: float) -> tuple[int | None, str]:
        """The generation in which it is ours, or None; and who leads, or did last."""
        async with self._db.begin() as tx:
            leader = await leases.owner(tx, leases.SERVER)
            is_another = leader not in ("", self._owner)
            if is_another and not (self._watched_since and now - self._watched_since >= WATCH_S):
                return None, leader
            moment = await leases.server_clock(tx)
            return await leases.hold(tx, leases.SERVER, owner=self._owner, now=moment, ttl=TTL), leader


def _stands_by(leader: str) -> StandsBy:
    return StandsBy(
        f"This server stands by: {leader} leads, or did until just now.",
        hint=f"Ask that one, at its own address. This one follows when it has been silent for {WATCH_S:.0f} s.",
    )
