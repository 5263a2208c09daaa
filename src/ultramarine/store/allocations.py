"""Allocations, and the nodes whose runners have said hello."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.allocation import HOLDS_ROOM, Allocation, AllocationEvent, AllocationStatus, Node
from ultramarine.domain.errors import NotFound
from ultramarine.domain.names import NodeKey
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.size import Amount
from ultramarine.store import events, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.known import Known, Queries
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, amount_to_json, change, fetch, fetch_many, fetch_one, fields

_A = t.allocations.c
_OPEN = (
    sa.select(t.allocations)
    .where(_A.status.in_([s.value for s in AllocationStatus if s is not AllocationStatus.FORGOTTEN]))
    .order_by(_A.created_at, _A.key)
)
_ON_POOL = _A.host.in_(hosts.NAMES_OF_POOL)
_OPEN_OF_POOL = _OPEN.where(_ON_POOL)
_VERSIONS = _OPEN.with_only_columns(_A.key, _A.version)
_BY_KEYS = sa.select(t.allocations).where(_A.key.in_(sa.bindparam("of_keys", expanding=True)))
_FAILED_STARTS = (
    sa.select(t.allocations)
    .where(
        _A.status.in_([AllocationStatus.ENDED.value, AllocationStatus.FORGOTTEN.value]),
        _A.up_at.is_(None),
        _A.changed_at > sa.bindparam("since"),
    )
    .order_by(_A.changed_at)
)
_FAILED_STARTS_OF_POOL = _FAILED_STARTS.where(_ON_POOL)
_NODES = sa.select(t.nodes).order_by(t.nodes.c.key)
_NODES_OF_POOL = _NODES.join(t.allocations, _A.key == t.nodes.c.allocation).where(_ON_POOL)
_NODE_VERSIONS = sa.select(t.nodes.c.key, t.nodes.c.version).order_by(t.nodes.c.key)
_NODES_BY_KEYS = sa.select(t.nodes).where(t.nodes.c.key.in_(sa.bindparam("of_keys", expanding=True)))
_DRAINING_OF = (
    sa.select(t.nodes.c.key, _A.reason)
    .join(t.allocations, _A.key == t.nodes.c.allocation)
    .where(t.nodes.c.key.in_(sa.bindparam("of_keys", expanding=True)), _A.status == AllocationStatus.DRAINING.value)
)
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


async def open_ones(tx: Tx, pool: str | None = None) -> Sequence[Allocation]:
    """All that are not forgotten yet, of one pool or of all, the oldest first."""
    query, given = hosts.of_pool(pool, _OPEN, _OPEN_OF_POOL)
    return await fetch_many(tx, query, _allocation, given)


def known(pool: str | None = None) -> Known[Allocation]:
    """What `open_ones` gives, for who reads it again and again."""
    queries, given = hosts.of_pool(pool, _KNOWN, _KNOWN_OF_POOL)
    return Known(queries, given)


async def of_compute(tx: Tx, compute: str, request: PageRequest) -> Page[Allocation]:
    """Those of a compute that may have machines, the oldest first."""
    c = t.allocations.c
    query = sa.select(t.allocations).where(c.compute == compute, c.status.in_(_LIVING))
    return await fetch_page(tx, query, request, order=[c.created_at, c.key], read=_allocation)


async def failed_starts(tx: Tx, *, since: datetime, pool: str | None = None) -> Sequence[Allocation]:
    """Those that ended after `since` without ever having come up, the oldest first."""
    query, given = hosts.of_pool(pool, _FAILED_STARTS, _FAILED_STARTS_OF_POOL)
    return [_allocation(row) for row in await fetch(tx, query, {"since": since} | (given or {}))]


async def get(tx: Tx, key: str) -> Allocation:
    row = await fetch_one(tx, sa.select(t.allocations).where(t.allocations.c.key == key))
    if row is None:
        raise NotFound("allocation", key, hint="um status")
    return _allocation(row)


async def nodes(tx: Tx, pool: str | None = None) -> Sequence[Node]:
    query, given = hosts.of_pool(pool, _NODES, _NODES_OF_POOL)
    return await fetch_many(tx, query, _node, given)


def known_nodes(pool: str | None = None) -> Known[Node]:
    """What `nodes` gives, for who reads it again and again."""
    queries, given = hosts.of_pool(pool, _KNOWN_NODES, _KNOWN_NODES_OF_POOL)
    return Known(queries, given)


async def draining(tx: Tx, nodes: Sequence[NodeKey]) -> dict[NodeKey, str]:
    """Those of these nodes that get no new work and go when they are empty, each with the reason."""
    if not nodes:
        return {}
    return {NodeKey(row["key"]): row["reason"] for row in await fetch(tx, _DRAINING_OF, {"of_keys": nodes})}


async def node(tx: Tx, key: str) -> Node | None:
    row = await fetch_one(tx, sa.select(t.nodes).where(t.nodes.c.key == key))
    return None if row is None else _node(row)


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


def _node(row: Row) -> Node:
    return Node(**row)


_KNOWN = Queries(versions=_VERSIONS, every=_OPEN, some=_BY_KEYS, read=_allocation)
_KNOWN_OF_POOL = Queries(versions=_VERSIONS.where(_ON_POOL), every=_OPEN_OF_POOL, some=_BY_KEYS, read=_allocation)
_KNOWN_NODES = Queries(versions=_NODE_VERSIONS, every=_NODES, some=_NODES_BY_KEYS, read=_node)
_KNOWN_NODES_OF_POOL = Queries(
    versions=_NODE_VERSIONS.join(t.allocations, _A.key == t.nodes.c.allocation).where(_ON_POOL),
    every=_NODES_OF_POOL,
    some=_NODES_BY_KEYS,
    read=_node,
)
