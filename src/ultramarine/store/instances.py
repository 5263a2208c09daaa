"""Compute instances: what is kept of them beside their compute's row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.instance import Instance, InstanceEvent, InstanceStatus
from ultramarine.domain.names import ComputeId
from ultramarine.store import events
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.rows import Row, change, fetch, fetch_one, fields

_EVERY = sa.select(t.instances).order_by(t.instances.c.created_at, t.instances.c.id)
_ONE = sa.select(t.instances).where(t.instances.c.id == sa.bindparam("of_id"))


async def add(tx: Tx, instance: Instance) -> None:
    await tx.execute(t.instances.insert(), {**_row(instance), "id": instance.id, "created_at": instance.created_at})
    await events.add(tx, instance, _about(instance), event="created", at=instance.created_at)


async def record(tx: Tx, instance: Instance, event: InstanceEvent, *, now: datetime, reason: str = "") -> Instance:
    new = instance.after(event, now=now, reason=reason)
    await change(tx, t.instances, instance.id, version=instance.version, values=_row(new), noun="compute instance")
    await events.add(tx, new, _about(new), event=event, at=now)
    return new


async def keep(tx: Tx, instance: Instance) -> None:
    """Write a changed copy. No move, so no event; `instance.version` is that of the copy that was read."""
    values = {**_row(instance), "version": instance.version + 1}
    await change(tx, t.instances, instance.id, version=instance.version, values=values, noun="compute instance")


async def every(tx: Tx) -> Sequence[Instance]:
    """All of them, of every workspace: also those whose compute is being deleted."""
    return [_instance(row) for row in await fetch(tx, _EVERY)]


async def find(tx: Tx, id: ComputeId) -> Instance | None:
    row = await fetch_one(tx, _ONE, {"of_id": id})
    return None if row is None else _instance(row)


async def remove(tx: Tx, id: ComputeId) -> None:
    """Forget one whose compute is gone."""
    await tx.execute(t.instances.delete().where(t.instances.c.id == id))


def _about(instance: Instance) -> events.About:
    return events.About(noun="instance", id=instance.id, name=instance.name)


def _row(instance: Instance) -> dict[str, Any]:
    return {
        "workspace": instance.workspace,
        "name": instance.name,
        "owner": instance.owner,
        "status": instance.status.value,
        "reason": instance.reason,
        "runs_made": instance.runs_made,
        "active_at": instance.active_at,
        "awake_until": instance.awake_until,
        "scheduled_at": instance.scheduled_at,
        "version": instance.version,
        "changed_at": instance.changed_at,
    }


def _instance(row: Row) -> Instance:
    return Instance(**fields(row, id=ComputeId(row["id"]), status=InstanceStatus(row["status"])))
