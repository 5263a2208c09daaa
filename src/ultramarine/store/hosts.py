"""Hosts: machines and the parts of them that are promised."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from ultramarine.domain.host import Host
from ultramarine.domain.size import Amount
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.rows import Row, change, fetch

_EVERY = sa.select(t.hosts).order_by(t.hosts.c.name)


async def every(tx: Tx) -> Sequence[Host]:
    return [_host(row) for row in await fetch(tx, _EVERY)]


async def put(tx: Tx, host: Host) -> None:
    """Say what a machine has; what is promised of it already stays so."""
    values = {
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
    total = Amount(
        cpus_milli=row["cpus_milli"],
        shares_milli=row["cpus_milli"],
        memory_bytes=row["memory_bytes"],
        gpus=len(gpu_ids),
    )
    return Host(name=row["name"], total=total, gpu_ids=gpu_ids, version=row["version"])
