"""The history: one row for each move, written in the transaction of the move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.rows import fetch

_ADD = t.events.insert()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened to what. `seq` grows with time, over all workspaces."""

    seq: int = 0
    workspace: str
    noun: str
    id: str
    name: str
    event: str
    status: str
    reason: str
    at: datetime


async def add(tx: Tx, happening: Happening) -> None:
    h = happening
    row = {
        "workspace": h.workspace,
        "noun": h.noun,
        "id": h.id,
        "name": h.name,
        "event": h.event,
        "status": h.status,
        "reason": h.reason,
        "at": h.at,
    }
    await tx.execute(_ADD, row)


async def after(
    tx: Tx, workspace: str, seq: int, *, noun: str = "", name: str = "", limit: int = 500
) -> Sequence[Happening]:
    """The next ones after `seq`, the oldest first."""
    e = t.events.c
    query = sa.select(t.events).where(e.workspace == workspace, e.seq > seq).order_by(e.seq).limit(limit)
    if noun:
        query = query.where(e.noun == noun)
    if name:
        query = query.where(e.name == name)
    return [Happening(**row) for row in await fetch(tx, query)]


async def of(tx: Tx, id: str, *, limit: int = 1000) -> Sequence[Happening]:
    """All of one thing's, the oldest first."""
    query = sa.select(t.events).where(t.events.c.id == id).order_by(t.events.c.seq).limit(limit)
    return [Happening(**row) for row in await fetch(tx, query)]
