"""Leases: which server's loop looks after a pool.

Correctness does not rest on them, but on versions; they spare double work.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from ultramarine.store import tables as t
from ultramarine.store.database import Tx

#: Nobody's lease, unless there is one: of two servers that make it at once, neither fails.
_MAKE = sa.text("INSERT INTO leases (name, owner, generation, until) VALUES (:name, '', 0, 0) ON CONFLICT DO NOTHING")


async def hold(tx: Tx, name: str, *, owner: str, now: datetime, ttl: timedelta) -> int | None:
    """Take the lease, or keep it: its generation, which counts the changes of owner.

    None while another owner's has not run out. One that is longer than `ttl` was taken before the clock was set back,
    and counts as over.
    """
    c = t.leases.c
    ours_or_free = sa.or_(c.owner == owner, c.until < now, c.until > now + ttl)
    again = sa.case((c.owner == owner, c.generation), else_=c.generation + 1)
    values = {"owner": owner, "until": now + ttl, "generation": again}
    taking = t.leases.update().where(c.name == name, ours_or_free).values(values).returning(c.generation)
    if (row := (await tx.execute(taking)).one_or_none()) is not None:
        return row.generation
    await tx.execute(_MAKE, {"name": name})
    row = (await tx.execute(taking)).one_or_none()
    return None if row is None else row.generation
