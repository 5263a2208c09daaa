"""Compute targets."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.compute import Compute, ComputeEvent, ComputeStatus, read_spec
from ultramarine.domain.errors import NotFound
from ultramarine.domain.names import ComputeId
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.size import Amount
from ultramarine.store import events, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, change, fetch, fetch_one

_THERE = sa.select(t.computes).where(t.computes.c.status != ComputeStatus.DELETED.value)
_EVERY = _THERE.order_by(t.computes.c.created_at, t.computes.c.id)
_EVERY_OF_POOL = _EVERY.where(t.computes.c.host.in_(hosts.NAMES_OF_POOL))
_POOL = (
    sa.select(t.hosts.c.pool)
    .join(t.computes, t.computes.c.host == t.hosts.c.name)
    .where(t.computes.c.id == sa.bindparam("of_id"))
)
_OF_OTHER_POOLS = sa.select(t.computes.c.id).where(
    t.computes.c.id.in_(sa.bindparam("of_ids", expanding=True)), t.computes.c.host.not_in(hosts.NAMES_OF_POOL)
)
_EVERY_OF_WORKSPACE = _EVERY.where(t.computes.c.workspace == sa.bindparam("of_workspace"))
_BY_ID = sa.select(t.computes).where(t.computes.c.id == sa.bindparam("of_id"))
_ONE = _THERE.where(
    t.computes.c.workspace == sa.bindparam("of_workspace"), t.computes.c.name == sa.bindparam("of_name")
)


async def add(tx: Tx, compute: Compute) -> None:
    await tx.execute(t.computes.insert(), {**_row(compute), "id": compute.id, "created_at": compute.created_at})
    await events.add(tx, compute, _about(compute), event="created", at=compute.created_at)


async def update(tx: Tx, compute: Compute, *, now: datetime) -> None:
    """Keep a changed copy; `compute.version` is that of the copy that was read."""
    values = {**_row(compute), "version": compute.version + 1, "changed_at": now}
    await change(tx, t.computes, compute.id, version=compute.version, values=values, noun="compute")


async def record(tx: Tx, compute: Compute, event: ComputeEvent, *, now: datetime, reason: str = "") -> Compute:
    new = compute.after(event, now=now, reason=reason)
    await change(tx, t.computes, compute.id, version=compute.version, values=_row(new), noun="compute")
    await events.add(tx, new, _about(new), event=event, at=now)
    return new


async def every(tx: Tx, workspace: str | None = None) -> Sequence[Compute]:
    """All that are not deleted, of one workspace or of all."""
    query = _EVERY if workspace is None else _EVERY_OF_WORKSPACE
    return [_compute(row) for row in await fetch(tx, query, {"of_workspace": workspace} if workspace else None)]


async def of_pool(tx: Tx, pool: str) -> Sequence[Compute]:
    """All that are not deleted, on the hosts of one pool."""
    return [_compute(row) for row in await fetch(tx, _EVERY_OF_POOL, {"of_pool": pool})]


async def pool_of(tx: Tx, id: ComputeId) -> str:
    """Which pool a compute belongs to, one that is deleted too."""
    row = await fetch_one(tx, _POOL, {"of_id": id})
    if row is None:
        raise NotFound("compute", id)
    return row["pool"]


async def size_of(tx: Tx, id: ComputeId) -> Amount:
    """What a node of a compute has, of one that is deleted too."""
    row = await fetch_one(tx, _BY_ID, {"of_id": id})
    if row is None:
        raise NotFound("compute", id)
    return _compute(row).size


async def of_other_pools(tx: Tx, ids: Collection[ComputeId], *, pool: str) -> frozenset[ComputeId]:
    """Those of these computes that have their nodes elsewhere, deleted ones too."""
    if not ids:
        return frozenset()
    rows = await fetch(tx, _OF_OTHER_POOLS, {"of_ids": list(ids), "of_pool": pool})
    return frozenset(ComputeId(row["id"]) for row in rows)


async def page(tx: Tx, workspace: str, request: PageRequest) -> Page[Compute]:
    """Those of a workspace that are not deleted, by name."""
    query = _THERE.where(t.computes.c.workspace == workspace)
    return await fetch_page(tx, query, request, order=[t.computes.c.name], read=_compute)


async def find(tx: Tx, workspace: str, name: str) -> Compute | None:
    row = await fetch_one(tx, _ONE, {"of_workspace": workspace, "of_name": name})
    return None if row is None else _compute(row)


async def get(tx: Tx, workspace: str, name: str) -> Compute:
    if (found := await find(tx, workspace, name)) is None:
        raise NotFound("compute", name, known=[c.name for c in await every(tx, workspace)])
    return found


def _about(compute: Compute) -> events.About:
    return events.About(noun="compute", id=compute.id, name=compute.name)


def _row(compute: Compute) -> dict[str, Any]:
    return {
        "workspace": compute.workspace,
        "name": compute.name,
        "spec": compute.spec.body() | {"type": compute.spec.type},
        "host": compute.host,
        "size_name": compute.size_name,
        "cpus_milli": compute.size.cpus_milli,
        "memory_bytes": compute.size.memory_bytes,
        "gpus": compute.size.gpus,
        "status": compute.status.value,
        "reason": compute.reason,
        "allocations_made": compute.allocations_made,
        "version": compute.version,
        "changed_at": compute.changed_at,
    }


def _compute(row: Row) -> Compute:
    return Compute(
        id=ComputeId(row["id"]),
        workspace=row["workspace"],
        name=row["name"],
        spec=read_spec(row["spec"]),
        host=row["host"],
        size=Amount(cpus_milli=row["cpus_milli"], memory_bytes=row["memory_bytes"], gpus=row["gpus"]),
        size_name=row["size_name"],
        status=ComputeStatus(row["status"]),
        reason=row["reason"],
        allocations_made=row["allocations_made"],
        version=row["version"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
    )
