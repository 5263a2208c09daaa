"""Rollouts of endpoints."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.rollout import ROLLOUT, Rollout, RolloutEvent, RolloutSpec, RolloutStatus
from ultramarine.store import events
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.rows import Row, change, fetch, fetch_one, fields

_OPEN = sa.select(t.rollouts).where(t.rollouts.c.status.not_in([status.value for status in ROLLOUT.final]))


async def add(tx: Tx, rollout: Rollout) -> None:
    """Keep a new one. That there is one open rollout of an endpoint at most is for the caller to see to."""
    row = {**_row(rollout), "id": rollout.id, "created_at": rollout.created_at}
    await tx.execute(t.rollouts.insert(), row)
    await events.add(tx, rollout, _about(rollout), event="created", at=rollout.created_at)


async def record(tx: Tx, rollout: Rollout, event: RolloutEvent, *, now: datetime, reason: str) -> Rollout:
    new = rollout.after(event, now=now, reason=reason)
    await change(tx, t.rollouts, rollout.id, version=rollout.version, values=_row(new), noun="rollout")
    await events.add(tx, new, _about(new), event=event, at=now)
    return new


async def open_ones(tx: Tx) -> Sequence[Rollout]:
    return [_rollout(row) for row in await fetch(tx, _OPEN.order_by(t.rollouts.c.created_at, t.rollouts.c.id))]


async def open_of(tx: Tx, workspace: str, endpoint: str) -> Rollout | None:
    c = t.rollouts.c
    row = await fetch_one(tx, _OPEN.where(c.workspace == workspace, c.endpoint == endpoint))
    return None if row is None else _rollout(row)


async def newest(tx: Tx, workspace: str, endpoint: str) -> Rollout | None:
    """The one that was begun last, whether it goes on or has ended."""
    c = t.rollouts.c
    query = sa.select(t.rollouts).where(c.workspace == workspace, c.endpoint == endpoint)
    row = await fetch_one(tx, query.order_by(c.created_at.desc(), c.id.desc()).limit(1))
    return None if row is None else _rollout(row)


def _about(rollout: Rollout) -> events.About:
    return events.About(noun="rollout", id=rollout.id, name=f"{rollout.endpoint}/{rollout.deployment}")


def _row(rollout: Rollout) -> dict[str, Any]:
    return {
        "workspace": rollout.workspace,
        "endpoint": rollout.endpoint,
        "deployment": rollout.deployment,
        "spec": rollout.spec.body(),
        "before": dict(rollout.before),
        "step": rollout.step,
        "step_at": rollout.step_at,
        "status": rollout.status.value,
        "reason": rollout.reason,
        "version": rollout.version,
        "changed_at": rollout.changed_at,
    }


def _rollout(row: Row) -> Rollout:
    spec = RolloutSpec.read(row["spec"], what=f"the rollout of {row['endpoint']}/{row['deployment']}")
    return Rollout(**fields(row, spec=spec, status=RolloutStatus(row["status"])))
