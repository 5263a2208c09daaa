"""Leases: which server's loop looks after a pool. Correctness does not rest on them, but on versions; they spare double work."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from ultramarine.store import tables as t
from ultramarine.store.database import Tx


async def hold(tx: Tx, name: str, *, owner: str, now: datetime, ttl: timedelta) -> bool:
    """Take the lease, or keep it. False while another owner's has not run out. One that is longer than `ttl` was taken before the clock was set back."""
    c = t.leases.c
    ours_or_free = sa.or_(c.owner == owner, c.until < now, c.until > now + ttl)
    again = sa.case((c.owner == owner, c.generation), else_=c.generation + 1)
    done = await tx.execute(
        t.leases.update().where(c.name == name, ours_or_free).values(owner=owner, until=now + ttl, generation=again)
    )
    if done.rowcount == 1:
        return True
    if (await tx.execute(sa.select(c.name).where(c.name == name))).one_or_none() is not None:
        return False
    await tx.execute(t.leases.insert(), {"name": name, "owner": owner, "generation": 1, "until": now + ttl})
    return True
