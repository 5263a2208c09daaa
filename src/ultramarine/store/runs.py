"""Runs: what runs, waits to run, or has run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.errors import NotFound
from ultramarine.domain.names import RunKey
from ultramarine.domain.run import Master, Mode, OwnerNoun, Peer, Run, RunEvent, RunStatus, Tier
from ultramarine.store import events, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.known import KEYS_MAX, Known, Queries
from ultramarine.store.rows import (
    Row,
    amount_from_json,
    amount_to_json,
    change,
    ending_from_json,
    ending_to_json,
    fetch,
    fetch_many,
    fetch_one,
    fields,
)

SPECS_MAX = 8  #: that are read on the event loop: they may be large
_COLUMNS = [c for c in t.runs.c if c.name not in ("spec", "seq", "is_open")]  # the spec is large, and few need it
_ADD = t.runs.insert()
_IN_LINE = (t.runs.c.priority.desc(), t.runs.c.seq)
_OPEN = sa.select(*_COLUMNS).where(t.runs.c.is_open).order_by(*_IN_LINE)
_VERSIONS = sa.select(t.runs.c.key, t.runs.c.version).where(t.runs.c.is_open).order_by(*_IN_LINE)
#: Of computes that are deleted too: the rows of those stay.
_IN_POOL = t.runs.c.compute.in_(sa.select(t.computes.c.id).where(t.computes.c.host.in_(hosts.NAMES_OF_POOL)))
_OPEN_OF_POOL = _OPEN.where(_IN_POOL)
_OPEN_REPLICAS = _OPEN.where(t.runs.c.owner_noun == OwnerNoun.DEPLOYMENT.value)
_OPEN_INSTANCES = _OPEN.where(t.runs.c.owner_noun == OwnerNoun.INSTANCE.value)
_BY_KEY = sa.select(*_COLUMNS).where(t.runs.c.key == sa.bindparam("of_key"))
_BY_KEYS = sa.select(*_COLUMNS).where(t.runs.c.key.in_(sa.bindparam("of_keys", expanding=True)))
_OF_OWNER = sa.select(*_COLUMNS).where(t.runs.c.owner_id == sa.bindparam("of_owner"))
_ALL_OF_OWNER = _OF_OWNER.order_by(t.runs.c.ordinal)
_NEWEST_OF_OWNER = _OF_OWNER.order_by(t.runs.c.ordinal.desc()).limit(1)
_SPECS = sa.select(t.runs.c.key, t.runs.c.spec).where(t.runs.c.key.in_(sa.bindparam("of_keys", expanding=True)))
_KEEP = (
    t.runs.update()
    .where(t.runs.c.key == sa.bindparam("k"), t.runs.c.is_open)
    .values(checkpoint=sa.bindparam("c"), version=t.runs.c.version + 1)
)
_EXPLAIN = t.runs.update().where(t.runs.c.key == sa.bindparam("k"), t.runs.c.is_open).values(reason=sa.bindparam("r"))


async def add(tx: Tx, run: Run, spec: dict[str, Any], *, event: str = "created") -> Run:
    await tx.execute(_ADD, {**_row(run), "key": run.key, "spec": spec, "created_at": run.created_at})
    await events.add(tx, run, _about(run), event=event, at=run.created_at)
    return run


async def record(
    tx: Tx, run: Run, event: RunEvent, *, now: datetime, reason: str = "", changes: dict[str, Any] | None = None
) -> Run:
    """Apply an event and keep it, or refuse: a move that `RUN` does not allow, a copy that is stale.

    `changes`: fields that the event sets with it (`nodes`, `master`, `ending`).
    """
    new = replace(run.after(event, now=now, reason=reason), **(changes or {}))
    await change(tx, t.runs, run.key, version=run.version, values=_row(new), noun=run.owner_noun.value)
    await events.add(tx, new, _about(new), event=event, at=now)
    return new


async def explain(tx: Tx, reasons: dict[RunKey, str]) -> None:
    """Keep the words that say why runs wait. No move, so no event and no new version."""
    if reasons:
        await tx.execute(_EXPLAIN, [{"k": key, "r": reason} for key, reason in reasons.items()])


async def keep_checkpoints(tx: Tx, kept: Mapping[RunKey, str]) -> None:
    """Write the newest checkpoints of runs that have not ended. No move, so no event.

    A new version all the same: a copy from before would put the older checkpoint back.
    """
    if kept:
        await tx.execute(_KEEP, [{"k": key, "c": snapshot} for key, snapshot in kept.items()])


async def open_ones(tx: Tx, pool: str | None = None) -> Sequence[Run]:
    """All that have not ended, on the computes of one pool or of all, in the order of the queue."""
    query, given = hosts.of_pool(pool, _OPEN, _OPEN_OF_POOL)
    return await fetch_many(tx, query, _run, given)


async def open_replicas(tx: Tx) -> Sequence[Run]:
    """Those of `open_ones` that are replicas of deployments: few, however many jobs wait."""
    return [_run(row) for row in await fetch(tx, _OPEN_REPLICAS)]


async def open_instances(tx: Tx) -> Sequence[Run]:
    """Those of `open_ones` that are compute instances."""
    return [_run(row) for row in await fetch(tx, _OPEN_INSTANCES)]


def known(pool: str | None = None) -> Known[Run]:
    """What `open_ones` gives, for who reads it again and again.

    But for reasons: one is reworded without a new version, and who does that (`explain`) says so (`Known.put`).
    """
    queries, given = hosts.of_pool(pool, _KNOWN, _KNOWN_OF_POOL)
    return Known(queries, given)


async def get(tx: Tx, key: str) -> Run:
    row = await fetch_one(tx, _BY_KEY, {"of_key": key})
    if row is None:
        raise NotFound("run", key)
    return _run(row)


async def of_owner(tx: Tx, owner_id: str) -> Sequence[Run]:
    """All attempts of a job, replicas of a deployment, or starts of an instance, the oldest first."""
    return [_run(row) for row in await fetch(tx, _ALL_OF_OWNER, {"of_owner": owner_id})]


async def newest(tx: Tx, owner_id: str) -> Run:
    row = await fetch_one(tx, _NEWEST_OF_OWNER, {"of_owner": owner_id})
    if row is None:
        raise NotFound("run", owner_id)
    return _run(row)


async def specs(tx: Tx, keys: Sequence[str]) -> dict[RunKey, dict[str, Any]]:
    """The specifications of some runs, as given to `add`."""
    found: dict[RunKey, dict[str, Any]] = {}
    for begin in range(0, len(keys), KEYS_MAX):
        some = keys[begin : begin + KEYS_MAX]
        given = {"of_keys": some}
        found |= (
            await tx.fetch(_SPECS, given, _by_key)
            if len(some) > SPECS_MAX
            else _by_key(await tx.execute(_SPECS, given))
        )
    return found


def _by_key(found: sa.CursorResult[Any]) -> dict[RunKey, dict[str, Any]]:
    return {RunKey(row.key): row.spec for row in found}


def _about(run: Run) -> events.About:
    return events.About(noun=run.owner_noun.value, id=run.owner_id, name=run.owner_name)


def _row(run: Run) -> dict[str, Any]:
    return {
        "workspace": run.workspace,
        "owner_noun": run.owner_noun.value,
        "owner_id": run.owner_id,
        "owner_name": run.owner_name,
        "ordinal": run.ordinal,
        "mode": run.mode.value,
        "compute": run.compute,
        "instance_count": run.instance_count,
        "need": amount_to_json(run.need),
        "user": run.user,
        "tier": run.tier.value,
        "priority": run.priority,
        "timeout_s": run.timeout_s,
        "retries_left": run.retries_left,
        "losses": run.losses,
        "status": run.status.value,
        "reason": run.reason,
        "ending": ending_to_json(run.ending),
        "checkpoint": run.checkpoint,
        "nodes": list(run.nodes),
        "gpu_ids": {node: list(ids) for node, ids in run.gpu_ids.items()},
        "master": None if run.master is None else asdict(run.master),
        "sockets": run.sockets,
        "version": run.version,
        "asked_at": run.asked_at,
        "changed_at": run.changed_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "is_open": not run.is_final,
    }


def _run(row: Row) -> Run:
    values = fields(
        row,
        owner_noun=OwnerNoun(row["owner_noun"]),
        mode=Mode(row["mode"]),
        need=amount_from_json(row["need"]),
        status=RunStatus(row["status"]),
        ending=ending_from_json(row["ending"]),
        tier=Tier(row["tier"]),
        nodes=tuple(row["nodes"]),
        gpu_ids={node: tuple(ids) for node, ids in row["gpu_ids"].items()},
        master=_master(row["master"]),
    )
    return Run(**values)


def _master(stored: dict[str, Any] | None) -> Master | None:
    """Runs that were placed before a master had peers have none."""
    if stored is None:
        return None
    peers = tuple(Peer(address=peer["address"], ports=tuple(peer["ports"])) for peer in stored.get("peers", ()))
    return Master(address=stored["address"], port=stored["port"], peers=peers)


_KNOWN = Queries(versions=_VERSIONS, every=_OPEN, some=_BY_KEYS, read=_run)
_KNOWN_OF_POOL = Queries(versions=_VERSIONS.where(_IN_POOL), every=_OPEN_OF_POOL, some=_BY_KEYS, read=_run)
