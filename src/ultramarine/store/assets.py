"""Environments and data assets: named, versioned, never changed after they are made."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import sqlalchemy as sa

from ultramarine.domain.data import DataAsset, DataSpec
from ultramarine.domain.environment import (
    Accelerator,
    Environment,
    EnvironmentEvent,
    EnvironmentSpec,
    EnvironmentStatus,
    Locked,
)
from ultramarine.domain.errors import NotFound
from ultramarine.domain.page import Page, PageRequest
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, fetch, fetch_one

T = TypeVar("T")
CURATED = "*"  #: the workspace of what belongs to every workspace
INTERNAL = "**"  #: of what is ours alone: users neither see nor name it


async def add_environment(tx: Tx, environment: Environment) -> None:
    e = environment
    row: dict[str, Any] = {
        "workspace": e.workspace,
        "name": e.name,
        "version": e.version,
        "spec": e.spec.body(),
        "locked": None if e.locked is None else asdict(e.locked),
        "is_curated": e.is_curated,
        "status": e.status.value,
        "reason": e.reason,
        "created_at": e.created_at,
    }
    await tx.execute(t.environments.insert(), row)


async def record_environment(
    tx: Tx, environment: Environment, event: EnvironmentEvent, *, locked: Locked | None = None, reason: str = ""
) -> None:
    new = environment.after(event, reason=reason)
    c = t.environments.c
    values = {"status": new.status.value, "reason": reason, "locked": None if locked is None else asdict(locked)}
    where = (
        c.workspace == new.workspace,
        c.name == new.name,
        c.version == new.version,
        c.status == environment.status.value,
    )
    await tx.execute(t.environments.update().where(*where).values(**values))


async def environment(tx: Tx, workspace: str, name: str, version: str | None = None) -> Environment:
    """A version, the newest where none is named; the workspace's own before the curated one. Raises `NotFound`."""
    row = await _asset(tx, t.environments, [workspace, CURATED], name, version)
    if row is None:
        known = {f"{e.name}:{e.version}" for e in await environments(tx, workspace)}
        raise NotFound("environment", f"{name}:{version}" if version else name, known=known)
    return _environment(row)


async def environments(tx: Tx, workspace: str, name: str | None = None) -> Sequence[Environment]:
    """All versions, the workspace's and the curated ones."""
    rows = await _assets(tx, t.environments, [workspace, CURATED], name)
    return [_environment(row) for row in rows]


async def environment_page(tx: Tx, workspace: str, request: PageRequest, *, name: str = "") -> Page[Environment]:
    """The newest version of each by name, the curated ones too; or every version of one, the newest first."""
    return await _page(tx, t.environments, request, within=[workspace, CURATED], name=name, read=_environment)


async def resolving(tx: Tx) -> Sequence[Environment]:
    query = (
        sa.select(t.environments)
        .where(t.environments.c.status == EnvironmentStatus.RESOLVING.value)
        .order_by(t.environments.c.seq)
    )
    return [_environment(row) for row in await fetch(tx, query)]


async def add_data(tx: Tx, data: DataAsset) -> None:
    row: dict[str, Any] = {
        "workspace": data.workspace,
        "name": data.name,
        "version": data.version,
        "spec": data.spec.body(),
        "snapshot": data.snapshot,
        "size_bytes": data.size_bytes,
        "created_at": data.created_at,
    }
    await tx.execute(t.data_assets.insert(), row)


async def data(tx: Tx, workspace: str, name: str, version: str | None = None) -> DataAsset:
    row = await _asset(tx, t.data_assets, [workspace], name, version)
    if row is None:
        known = {f"{d.name}:{d.version}" for d in await data_assets(tx, workspace)}
        raise NotFound("data", f"{name}:{version}" if version else name, known=known)
    return _data(row)


async def data_assets(tx: Tx, workspace: str, name: str | None = None) -> Sequence[DataAsset]:
    return [_data(row) for row in await _assets(tx, t.data_assets, [workspace], name)]


async def data_page(tx: Tx, workspace: str, request: PageRequest, *, name: str = "") -> Page[DataAsset]:
    """The newest version of each by name; or every version of one, the newest first."""
    return await _page(tx, t.data_assets, request, within=[workspace], name=name, read=_data)


async def _page(
    tx: Tx, table: sa.Table, request: PageRequest, *, within: list[str], name: str, read: Callable[[Row], T]
) -> Page[T]:
    c = table.c
    if name:
        newest_first = sa.select(table).where(c.workspace.in_(within), c.name == name)
        return await fetch_page(tx, newest_first, request, order=[c.seq], read=read, is_descending=True)
    newest = sa.func.row_number().over(partition_by=c.name, order_by=(c.workspace == CURATED, c.seq.desc()))
    ranked = sa.select(table, newest.label("rank")).where(c.workspace.in_(within)).subquery()
    first = sa.select(*(ranked.c[column.name] for column in c)).where(ranked.c["rank"] == 1)
    return await fetch_page(tx, first, request, order=[ranked.c.name], read=read)


async def _asset(tx: Tx, table: sa.Table, workspaces: list[str], name: str, version: str | None) -> Row | None:
    values = {"of_workspaces": workspaces, "of_name": name}
    if version is None:
        return await fetch_one(tx, _newest(table), values)
    return await fetch_one(tx, _newest(table, of_version=True), values | {"of_version": version})


@functools.cache
def _newest(table: sa.Table, *, of_version: bool = False) -> sa.Select[Any]:
    c = table.c
    named = sa.select(table).where(
        c.workspace.in_(sa.bindparam("of_workspaces", expanding=True)), c.name == sa.bindparam("of_name")
    )
    if of_version:
        named = named.where(c.version == sa.bindparam("of_version"))
    return named.order_by((c.workspace == CURATED), c.seq.desc()).limit(1)


async def _assets(tx: Tx, table: sa.Table, workspaces: list[str], name: str | None) -> Sequence[Row]:
    query = sa.select(table).where(table.c.workspace.in_(workspaces)).order_by(table.c.seq)
    if name is not None:
        query = query.where(table.c.name == name)
    return await fetch(tx, query)


def _environment(row: Row) -> Environment:
    return Environment(
        workspace=row["workspace"],
        name=row["name"],
        version=row["version"],
        spec=EnvironmentSpec.read(row["spec"], what=f"environment {row['name']}"),
        locked=None if row["locked"] is None else _locked(row["locked"]),
        is_curated=row["is_curated"],
        status=EnvironmentStatus(row["status"]),
        reason=row["reason"],
        created_at=row["created_at"],
    )


def _locked(kept: dict[str, Any]) -> Locked:
    """One of an earlier release has neither accelerator nor others."""
    accelerator = Accelerator(kept.get("accelerator", Accelerator.CPU))
    others = tuple(_locked(other) for other in kept.get("others", ()))
    values: dict[str, Any] = kept | {"accelerator": accelerator, "others": others}
    return Locked(**values)


def _data(row: Row) -> DataAsset:
    return DataAsset(
        workspace=row["workspace"],
        name=row["name"],
        version=row["version"],
        spec=DataSpec.read(row["spec"], what=f"data {row['name']}"),
        snapshot=row["snapshot"],
        size_bytes=row["size_bytes"],
        created_at=row["created_at"],
    )
