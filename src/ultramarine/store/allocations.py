"""Allocations, and the nodes whose runners have said hello."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.allocation import HOLDS_ROOM, Allocation, AllocationEvent, AllocationStatus, Node
from ultramarine.domain.errors import NotFound
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.size import Amount
from ultramarine.store import events
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, amount_to_json, change, fetch, fetch_many, fetch_one, fields

_A = t.allocations.c
_OPEN = (
    sa.select(t.allocations)
    .where(_A.status.in_([s.value for s in AllocationStatus if s is not AllocationStatus.FORGOTTEN]))
    .order_by(_A.created_at, _A.key)
)
_FAILED_STARTS = (
    sa.select(t.allocations)
    .where(
        _A.status.in_([AllocationStatus.ENDED.value, AllocationStatus.FORGOTTEN.value]),
        _A.up_at.is_(None),
        _A.changed_at > sa.bindparam("since"),
    )
    .order_by(_A.changed_at)
)
_NODES = sa.select(t.nodes).order_by(t.nodes.c.key)
_LIVING = [s.value for s in AllocationStatus if s not in (AllocationStatus.FORGOTTEN, AllocationStatus.ENDED)]


async def add(tx: Tx, allocation: Allocation) -> None:
    await tx.execute(
        t.allocations.insert(), {**_row(allocation), "key": allocation.key, "created_at": allocation.created_at}
    )
    await events.add(tx, allocation, _about(allocation), event="created", at=allocation.created_at)


async def record(
    tx: Tx, allocation: Allocation, event: AllocationEvent, *, now: datetime, reason: str = ""
) -> Allocation:
    new = allocation.after(event, now=now, reason=reason)
    await change(tx, t.allocations, allocation.key, version=allocation.version, values=_row(new), noun="allocation")
    if new.status not in HOLDS_ROOM:
        await tx.execute(t.nodes.delete().where(t.nodes.c.allocation == new.key))
    await events.add(tx, new, _about(new), event=event, at=now)
    return new


async def open_ones(tx: Tx) -> Sequence[Allocation]:
    """All that are not forgotten yet, the oldest first."""
    return await fetch_many(tx, _OPEN, _allocation)


async def of_compute(tx: Tx, compute: str, request: PageRequest) -> Page[Allocation]:
    """Those of a compute that may have machines, the oldest first."""
    c = t.allocations.c
    query = sa.select(t.allocations).where(c.compute == compute, c.status.in_(_LIVING))
    return await fetch_page(tx, query, request, order=[c.created_at, c.key], read=_allocation)


async def failed_starts(tx: Tx, *, since: datetime) -> Sequence[Allocation]:
    """Those that ended after `since` without ever having come up, the oldest first."""
    return [_allocation(row) for row in await fetch(tx, _FAILED_STARTS, {"since": since})]


async def get(tx: Tx, key: str) -> Allocation:
    row = await fetch_one(tx, sa.select(t.allocations).where(t.allocations.c.key == key))
    if row is None:
        raise NotFound("allocation", key, hint="um status")
    return _allocation(row)


async def nodes(tx: Tx) -> Sequence[Node]:
    return await fetch_many(tx, _NODES, lambda row: Node(**row))


async def node(tx: Tx, key: str) -> Node | None:
    row = await fetch_one(tx, sa.select(t.nodes).where(t.nodes.c.key == key))
    return None if row is None else Node(**row)


async def add_node(tx: Tx, node: Node) -> None:
    row = {
        "key": node.key,
        "allocation": node.allocation,
        "nonce": node.nonce,
        "machine": node.machine,
        "version": node.version,
        "used_at": node.used_at,
    }
    await tx.execute(t.nodes.insert(), row)


async def use(tx: Tx, used: Iterable[Node], *, now: datetime) -> None:
    """Compare-and-set the version of each: what else was decided on this copy of it is refused from now on."""
    for one in used:
        values = {"version": one.version + 1, "used_at": now}
        await change(tx, t.nodes, one.key, version=one.version, values=values, noun="node")


def _about(allocation: Allocation) -> events.About:
    return events.About(noun="allocation", id=allocation.key, name=allocation.compute_name)


def _row(allocation: Allocation) -> dict[str, Any]:
    return {
        "compute": allocation.compute,
        "workspace": allocation.workspace,
        "compute_name": allocation.compute_name,
        "host": allocation.host,
        "claim": amount_to_json(allocation.claim),
        "capacity": amount_to_json(allocation.capacity),
        "gpu_ids": list(allocation.gpu_ids),
        "is_elastic": allocation.is_elastic,
        "status": allocation.status.value,
        "reason": allocation.reason,
        "version": allocation.version,
        "changed_at": allocation.changed_at,
        "up_at": allocation.up_at,
    }


def _allocation(row: Row) -> Allocation:
    values = fields(
        row,
        claim=Amount(**row["claim"]),
        capacity=Amount(**row["capacity"]),
        gpu_ids=tuple(row["gpu_ids"]),
        status=AllocationStatus(row["status"]),
    )
    return Allocation(**values)
