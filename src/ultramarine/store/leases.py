"""Leases: which server's loop looks after a pool.

They spare double work. Correctness rests on versions of rows, and on the generation that every act carries: an act of
somebody who stood still while his lease ran out is refused.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ultramarine.domain.errors import StaleWrite
from ultramarine.store import tables as t
from ultramarine.store.database import Tx

#: Nobody's lease, unless there is one: of two servers that make it at once, neither fails.
_MAKE = sa.text("INSERT INTO leases (name, owner, generation, until) VALUES (:name, '', 0, 0) ON CONFLICT DO NOTHING")

COMPUTES = "computes"  #: who makes or changes one: of names and ports
NEVER = datetime.fromtimestamp(0, UTC)
SERVER = "server"  #: which of the servers of one PostgreSQL leads
#: What the time is for a PostgreSQL.
CLOCK = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, t.Moment)


async def server_clock(tx: Tx) -> datetime:
    """What the time is for the database: of PostgreSQL, where the clocks of those who ask are not the same."""
    return (await tx.execute(sa.select(CLOCK))).scalar_one()


async def owner(tx: Tx, name: str) -> str:
    """Whose it is or last was; empty: nobody's ever."""
    row = (await tx.execute(sa.select(t.leases.c.owner).where(t.leases.c.name == name))).one_or_none()
    return "" if row is None else row.owner


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


async def check(tx: Tx, name: str, *, owner: str, generation: int) -> None:
    """Raises `StaleWrite` when somebody else has taken the lease since it was taken in this generation.

    In the transaction of an act it is a fence: who stood still meanwhile writes nothing any more. On PostgreSQL the row
    is locked until the transaction ends, so that nobody takes the lease in between.
    """
    c = t.leases.c
    ours = sa.select(c.name).where(c.name == name, c.owner == owner, c.generation == generation).with_for_update()
    if (await tx.execute(ours)).one_or_none() is None:
        raise StaleWrite("lease", name)


async def alone(tx: Tx, name: str) -> None:
    """From here on until the transaction ends nobody else is past here with this name: who comes waits.

    For what must be so of several rows, and is looked at before one is written. SQLite has one writer anyway.
    """
    await tx.execute(_MAKE, {"name": name})
    await tx.execute(sa.select(t.leases.c.name).where(t.leases.c.name == name).with_for_update())
