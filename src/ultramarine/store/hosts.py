"""Hosts: machines and the parts of them that are promised."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from ultramarine.domain.host import ENDLESS, Host
from ultramarine.domain.size import Amount
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.rows import Row, change, fetch

Q = TypeVar("Q")
_EVERY = sa.select(t.hosts).order_by(t.hosts.c.name)
_OF_POOL = _EVERY.where(t.hosts.c.pool == sa.bindparam("of_pool"))

#: For the queries of what is on them: the names of the hosts of a pool.
NAMES_OF_POOL = sa.select(t.hosts.c.name).where(t.hosts.c.pool == sa.bindparam("of_pool"))


async def every(tx: Tx, pool: str | None = None) -> Sequence[Host]:
    """Those of one pool, or all."""
    query, given = of_pool(pool, _EVERY, _OF_POOL)
    return [_host(row) for row in await fetch(tx, query, given)]


def of_pool(pool: str | None, all_of_them: Q, those_of_it: Q) -> tuple[Q, dict[str, Any] | None]:
    """Of two queries the one that is meant, and its parameters."""
    return (all_of_them, None) if pool is None else (those_of_it, {"of_pool": pool})


async def put(tx: Tx, host: Host) -> None:
    """Say what a machine has; what is promised of it already stays so."""
    values = {
        "pool": host.pool,
        "is_bounded": host.is_bounded,
        "cpus_milli": host.total.cpus_milli,
        "memory_bytes": host.total.memory_bytes,
        "gpu_ids": list(host.gpu_ids),
    }
    done = await tx.execute(
        t.hosts.update().where(t.hosts.c.name == host.name).values(**values, version=t.hosts.c.version + 1)
    )
    if done.rowcount == 0:
        await tx.execute(t.hosts.insert(), {**values, "name": host.name, "version": 1})


async def claim(tx: Tx, claimed: Iterable[Host]) -> None:
    """Compare-and-set each version: of two that promise from the same copy, one is refused."""
    for one in claimed:
        await change(tx, t.hosts, one.name, version=one.version, values={"version": one.version + 1}, noun="host")


def _host(row: Row) -> Host:
    gpu_ids = tuple(row["gpu_ids"])
    counted = Amount(
        cpus_milli=row["cpus_milli"],
        shares_milli=row["cpus_milli"],
        memory_bytes=row["memory_bytes"],
        gpus=len(gpu_ids),
    )
    return Host(
        name=row["name"],
        pool=row["pool"],
        is_bounded=row["is_bounded"],
        total=counted if row["is_bounded"] else ENDLESS,
        gpu_ids=gpu_ids,
        version=row["version"],
    )
