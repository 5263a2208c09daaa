"""The installation itself: its epoch, its workspaces, its tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.compute import LOCAL, ComputeStatus
from ultramarine.domain.errors import NotFound
from ultramarine.domain.identity import Role, Token
from ultramarine.domain.names import Epoch
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.quota import Quota
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, fetch, fetch_one, fields

_QUOTAS = sa.select(t.workspaces.c.name, t.workspaces.c.quota).where(t.workspaces.c.quota.is_not(None))
_TOKEN = sa.select(t.tokens).where(t.tokens.c.sha256 == sa.bindparam("of_sha256"))
_TOKEN_BY_ID = sa.select(t.tokens).where(t.tokens.c.id == sa.bindparam("of_id"))
#: A workspace is being deleted from when its compute `local` is.
_IS_USABLE = sa.exists().where(
    t.computes.c.workspace == t.workspaces.c.name,
    t.computes.c.name == LOCAL,
    t.computes.c.status == ComputeStatus.SUCCEEDED.value,
)
_WORKSPACE = sa.select(t.workspaces, _IS_USABLE.label("is_usable")).where(
    t.workspaces.c.name == sa.bindparam("of_name")
)


async def epoch(tx: Tx) -> Epoch | None:
    row = (await tx.execute(sa.select(t.installation.c.epoch))).one_or_none()
    return None if row is None else Epoch(row.epoch)


async def found(tx: Tx, epoch: Epoch, *, now: datetime) -> None:
    await tx.execute(t.installation.insert(), {"epoch": epoch, "created_at": now})


async def add_workspace(
    tx: Tx, name: str, *, description: str, tags: dict[str, str], quota: Quota | None = None, now: datetime
) -> None:
    row = {"name": name, "description": description, "tags": tags, "quota": None if quota is None else quota.body()}
    await tx.execute(t.workspaces.insert(), row | {"created_at": now})


async def change_workspace(tx: Tx, name: str, values: Mapping[str, Any]) -> None:
    """Set some of `description`, `tags` and `quota` (a `Quota` or None)."""
    row = {k: v.body() if isinstance(v, Quota) else v for k, v in values.items()}
    if row:
        await tx.execute(t.workspaces.update().where(t.workspaces.c.name == name).values(**row))


async def quotas(tx: Tx) -> dict[str, Quota]:
    """By workspace, where one is set."""
    return {row["name"]: Quota.model_validate(row["quota"]) for row in await fetch(tx, _QUOTAS)}


async def workspaces(tx: Tx) -> Sequence[dict[str, Any]]:
    return [dict(row) for row in await fetch(tx, sa.select(t.workspaces).order_by(t.workspaces.c.name))]


async def unusable_workspaces(tx: Tx) -> Sequence[str]:
    """Those whose compute `local` is gone: all that ran in them has ended, and they are to be purged."""
    has_local = sa.exists().where(
        t.computes.c.workspace == t.workspaces.c.name,
        t.computes.c.name == LOCAL,
        t.computes.c.status != ComputeStatus.DELETED.value,
    )
    return [row["name"] for row in await fetch(tx, sa.select(t.workspaces.c.name).where(sa.not_(has_local)))]


async def purge_workspace(tx: Tx, name: str) -> None:
    """Remove it with every row that is of it; tokens stay, revoked, as what was given out."""
    serving = (t.endpoints, t.deployments, t.rollouts)
    for table in (t.jobs, t.runs, t.events, t.environments, t.data_assets, *serving, t.allocations, t.computes):
        await tx.execute(table.delete().where(table.c.workspace == name))
    await tx.execute(t.workspaces.delete().where(t.workspaces.c.name == name))


async def workspace_page(tx: Tx, request: PageRequest, *, only: str | None) -> Page[Row]:
    """By name, each with `is_usable`: not being deleted. `only`: no other than the one of this name."""
    query = sa.select(t.workspaces, _IS_USABLE.label("is_usable"))
    if only is not None:
        query = query.where(t.workspaces.c.name == only)
    return await fetch_page(tx, query, request, order=[t.workspaces.c.name], read=lambda row: row)


async def workspace(tx: Tx, name: str) -> Row | None:
    """As in `workspace_page`."""
    return await fetch_one(tx, _WORKSPACE, {"of_name": name})


async def add_token(tx: Tx, token: Token, *, sha256: str) -> None:
    row = {
        "id": token.id,
        "sha256": sha256,
        "subject": token.subject,
        "workspace": token.workspace,
        "role": token.role.value,
    }
    times = {"created_at": token.created_at, "expires_at": token.expires_at, "revoked_at": token.revoked_at}
    await tx.execute(t.tokens.insert(), row | times)


async def find_token(tx: Tx, sha256: str) -> Token | None:
    row = await fetch_one(tx, _TOKEN, {"of_sha256": sha256})
    return None if row is None else _token(row)


async def token_by_id(tx: Tx, id: str) -> Token | None:
    row = await fetch_one(tx, _TOKEN_BY_ID, {"of_id": id})
    return None if row is None else _token(row)


async def tokens(tx: Tx, request: PageRequest) -> Page[Token]:
    """The oldest first."""
    c = t.tokens.c
    return await fetch_page(tx, sa.select(t.tokens), request, order=[c.created_at, c.id], read=_token)


async def revoke_token(tx: Tx, id: str, *, now: datetime) -> None:
    done = await tx.execute(
        t.tokens.update()
        .where(t.tokens.c.id == id)
        .values(revoked_at=sa.func.coalesce(t.tokens.c.revoked_at, sa.literal(now, t.Moment)))
    )
    if done.rowcount == 0:
        raise NotFound("token", id)


async def revoke_tokens_of(tx: Tx, workspace: str, *, now: datetime) -> None:
    c = t.tokens.c
    where = (c.workspace == workspace, c.revoked_at.is_(None))
    await tx.execute(t.tokens.update().where(*where).values(revoked_at=now))


def _token(row: Row) -> Token:
    values = fields(row, role=Role(row["role"]))
    del values["sha256"]
    return Token(**values)
