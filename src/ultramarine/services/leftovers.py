"""What drivers observe and what the rows say, side by side: nothing may be on one side only."""

from dataclasses import dataclass

from ultramarine.domain.allocation import AllocationStatus
from ultramarine.domain.page import Page, PageRequest, cut
from ultramarine.services.context import Context
from ultramarine.store import allocations

S = AllocationStatus
ASKED_FOR = frozenset({S.STARTING, S.UP, S.DRAINING, S.RELEASING, S.ENDED})  #: a driver was asked, and keeps a mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """An allocation that one side alone knows; `key` is "" where a whole pool cannot be compared."""

    pool: str
    key: str
    words: str


async def page(ctx: Context, request: PageRequest) -> Page[Leftover]:
    """The differences, by pool and key, as of the last look of each pool's loop. Empty: nothing was left anywhere."""
    found: list[Leftover] = []
    for pool in ctx.hub.pools:
        found += await _of_pool(ctx, pool)
    return cut(found, request, key=lambda one: f"{one.pool}/{one.key}")


async def _of_pool(ctx: Context, pool: str) -> list[Leftover]:
    # The observation first: what is made after it has its row already.
    at, observed = ctx.hub.observation(pool)
    if not ctx.hub.has_published(pool):
        return [Leftover(pool=pool, key="", words="This server has not looked at it: ask again, or the other server.")]
    async with ctx.read() as tx:
        rows = {row.key: row for row in await allocations.open_ones(tx, pool)}
    machines = [
        Leftover(pool=pool, key=key, words=f"It is {news.state} there, and no row knows it.")
        for key, news in observed.items()
        if key not in rows
    ]
    return machines + [
        Leftover(pool=pool, key=key, words=f"Its row says {row.status}, and its driver does not know it.")
        for key, row in rows.items()
        if row.status in ASKED_FOR and row.changed_at < at and key not in observed
    ]
