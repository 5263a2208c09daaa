"""Leases: which server's loop looks after a pool.

Correctness does not rest on them, but on versions; they spare double work.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from ultramarine.store import tables as t
from ultramarine.store.database import Tx


async def hold(tx: Tx, name: str, *, owner: str, now: datetime, ttl: timedelta) -> int | None:
    """Take the lease, or keep it: its generation, which counts the changes of owner.

    None while another owner's has not run out. One that is longer than `ttl` was taken before the clock was set back,
    and counts as over.
    """
    c = t.leases.c
    ours_or_free = sa.or_(c.owner == owner, c.until < now, c.until > now + ttl)
    again = sa.case((c.owner == owner, c.generation), else_=c.generation + 1)
    values = {"owner": owner, "until": now + ttl, "generation": again}
    held = await tx.execute(
        t.leases.update().where(c.name == name, ours_or_free).values(values).returning(c.generation)
    )
    if (row := held.one_or_none()) is not None:
        return row.generation
    if (await tx.execute(sa.select(c.name).where(c.name == name))).one_or_none() is not None:
        return None
    await tx.execute(t.leases.insert(), {"name": name, "owner": owner, "generation": 1, "until": now + ttl})
    return 1
