"""The history: one row for each move, written in the transaction of the move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

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


class Standing(Protocol):
    """A thing that has a status."""

    @property
    def workspace(self) -> str: ...
    @property
    def status(self) -> StrEnum: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a thing is called in the history."""

    noun: str
    id: str
    name: str


async def add(tx: Tx, thing: Standing, about: About, *, event: str, at: datetime) -> None:
    """Keep what has happened to a thing; its status is the one after it."""
    row = {
        "workspace": thing.workspace,
        "noun": about.noun,
        "id": about.id,
        "name": about.name,
        "event": event,
        "status": thing.status.value,
        "reason": thing.reason,
        "at": at,
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
