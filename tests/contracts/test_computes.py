"""Computes that are made at once, on SQLite and on PostgreSQL alike."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from tests.factories import NOON, make_context, make_host

from ultramarine.domain.errors import Conflict
from ultramarine.domain.identity import Role, Token
from ultramarine.services import computes, identity
from ultramarine.services.context import Context
from ultramarine.services.identity import WorkspaceSpec
from ultramarine.store import computes as stored
from ultramarine.store import hosts
from ultramarine.store.database import Database

BODY = {"type": "computeinstance", "size": "cpu-1"}
BOARD = {"name": "board", "command": "true", "port": 6006}
ROUNDS = 5  #: with the first, connections are made
ME = Token(id="t", subject="me", workspace="w", role=Role.DATA_SCIENTIST, created_at=NOON)


async def context(db: Database, folder: Path) -> Context:
    ctx = make_context(db, folder)
    async with ctx.begin() as tx:
        await hosts.put(tx, make_host())
        await identity.found_workspace(tx, ctx, "w", WorkspaceSpec(), now=NOON)
    return ctx


async def put(ctx: Context, name: str, **more: Any) -> str:
    """What came of it."""
    try:
        _, is_new = await computes.put(ctx, "w", name, {**BODY, **more}, token=ME)
    except Conflict as refused:
        return str(refused)
    return "made" if is_new else "changed"


async def at_once(ctx: Context, *names: str, **more: Any) -> Counter[str]:
    """How often what came of instances of these names that were all asked for in one moment."""
    return Counter(await asyncio.gather(*(put(ctx, name, **more) for name in names)))


async def test_of_instances_that_ask_for_one_port_at_once_one_gets_it(db: Database, tmp_path: Path) -> None:
    ctx = await context(db, tmp_path)
    for round in range(ROUNDS):
        board, names = {**BOARD, "port": 6006 + round}, [f"i{round}-{number}" for number in range(6)]
        got = await at_once(ctx, *names, custom_applications=[board])
        words = (
            f"custom_applications: {board['port']}, the port of board, is another compute instance's on this machine."
        )
        assert got == {"made": 1, words: 5}


async def test_what_is_put_several_times_at_once_is_made_once(db: Database, tmp_path: Path) -> None:
    ctx = await context(db, tmp_path)
    names = [f"i{number}" for number in range(ROUNDS)]
    for name in names:
        assert await at_once(ctx, *[name] * 6) == {"made": 1, "changed": 5}
    async with ctx.read() as tx:
        assert sorted(each.name for each in await stored.every(tx, "w") if each.is_instance) == names
