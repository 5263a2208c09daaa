"""The history: one row for each move, written in the transaction of the move."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import sqlalchemy as sa

from ultramarine.domain.page import Page, PageRequest
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row

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


async def page(tx: Tx, workspace: str, request: PageRequest, *, noun: str = "", name: str = "") -> Page[Happening]:
    """What happened in a workspace, the oldest first. The cursor is the number of an event."""
    query = sa.select(t.events).where(t.events.c.workspace == workspace)
    if noun:
        query = query.where(t.events.c.noun == noun)
    if name:
        query = query.where(t.events.c.name == name)
    return await fetch_page(tx, query, request, order=[t.events.c.seq], read=_happening)


async def of(tx: Tx, id: str, request: PageRequest) -> Page[Happening]:
    """What happened to one thing, the oldest first."""
    query = sa.select(t.events).where(t.events.c.id == id)
    return await fetch_page(tx, query, request, order=[t.events.c.seq], read=_happening)


def _happening(row: Row) -> Happening:
    return Happening(**row)
