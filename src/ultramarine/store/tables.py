"""The tables, in SQLAlchemy Core.

Times are integers of microseconds since 1970 UTC: the same on every database, and sortable.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


class Moment(sa.types.TypeDecorator[datetime]):
    """A datetime in UTC."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


#: SQLite only numbers rows by itself in a column that is exactly INTEGER.
Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False, **more)


def _number(name: str, **more: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, **more)


def _json(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=nullable)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, Moment, nullable=nullable)


installation = sa.Table("installation", metadata, _text("epoch", primary_key=True), _at("created_at"))

workspaces = sa.Table(
    "workspaces",
    metadata,
    _text("name", primary_key=True),
    _text("description"),
    _json("tags"),
    _json("quota", nullable=True),
    _at("created_at"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _text("id", primary_key=True),
    _text("sha256", unique=True),
    _text("subject"),
    _text("workspace"),
    _text("role"),
    _at("created_at"),
    _at("expires_at", nullable=True),
    _at("revoked_at", nullable=True),
)

hosts = sa.Table(
    "hosts",
    metadata,
    _text("name", primary_key=True),
    _text("pool"),
    sa.Column("is_bounded", sa.Boolean, nullable=False),
    _number("cpus_milli"),
    _number("memory_bytes"),
    _json("gpu_ids"),
    _number("version"),
)

computes = sa.Table(
    "computes",
    metadata,
    _text("id", primary_key=True),
    _text("workspace"),
    _text("name"),
    _json("spec"),
    _text("host"),
    _text("size_name"),
    _number("cpus_milli"),
    _number("memory_bytes"),
    _number("gpus"),
    _text("status"),
    _text("reason"),
    _number("allocations_made"),
    _number("version"),
    _at("created_at"),
    _at("changed_at"),
    sa.Index("computes_name", "workspace", "name"),
)

allocations = sa.Table(
    "allocations",
    metadata,
    _text("key", primary_key=True),
    _text("compute"),
    _text("workspace"),
    _text("compute_name"),
    _text("host"),
    _json("claim"),
    _json("capacity"),
    _json("gpu_ids"),
    sa.Column("is_elastic", sa.Boolean, nullable=False),
    _text("status", index=True),
    _text("reason"),
    _number("version"),
    _at("created_at"),
    _at("changed_at"),
    _at("up_at", nullable=True),
)

nodes = sa.Table(
    "nodes",
    metadata,
    _text("key", primary_key=True),
    _text("allocation", index=True),
    _text("nonce"),
    _json("machine"),
    _number("version"),
    _at("used_at"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("id", unique=True),
    _text("workspace"),
    _text("name"),
    _text("experiment"),
    _json("spec"),
    _text("body_sha256"),
    _text("user"),
    _number("attempt"),
    _text(
        "tracking", index=True
    ),  #: a word of `domain.job.Tracking`: whether MLflow knows it, and knows that it has ended
    _at("created_at"),
    sa.UniqueConstraint("workspace", "name", name="jobs_name"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("key", unique=True),
    _text("workspace"),
    _text("owner_noun"),
    _text("owner_id"),
    _text("owner_name"),
    _number("ordinal"),
    _text("mode"),
    _text("compute"),
    _number("instance_count"),
    _json("need", nullable=True),
    _text("user"),
    _text("tier"),
    _number("priority"),
    sa.Column("timeout_s", sa.BigInteger, nullable=True),
    _number("retries_left"),
    _number("losses"),
    _text("status"),
    _text("reason"),
    _json("ending", nullable=True),
    sa.Column("checkpoint", sa.String, nullable=True),
    _json("nodes"),
    _json("gpu_ids"),
    _json("master", nullable=True),
    _json("sockets"),
    _json("spec"),
    _number("version"),
    _at("asked_at"),
    _at("created_at"),
    _at("changed_at"),
    _at("started_at", nullable=True),
    _at("ended_at", nullable=True),
    sa.Column("is_open", sa.Boolean, nullable=False),  #: not final: what the loops look at, as a small index
    sa.Index("runs_owner", "owner_id", "ordinal"),
    sa.Index("runs_open", "is_open", "priority", "seq"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("workspace"),
    _text("noun"),
    _text("id"),
    _text("name"),
    _text("event"),
    _text("status"),
    _text("reason"),
    _at("at"),
    sa.Index("events_thing", "id", "seq"),
    sa.Index("events_workspace", "workspace", "seq"),
)

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("workspace"),
    _text("name"),
    _text("version"),
    _json("spec"),
    _json("locked", nullable=True),
    sa.Column("is_curated", sa.Boolean, nullable=False),
    _text("status", index=True),
    _text("reason"),
    _at("created_at"),
    sa.UniqueConstraint("workspace", "name", "version", name="environments_name"),
)

data_assets = sa.Table(
    "data_assets",
    metadata,
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    _text("workspace"),
    _text("name"),
    _text("version"),
    _json("spec"),
    _text("snapshot"),
    _number("size_bytes"),
    _at("created_at"),
    sa.UniqueConstraint("workspace", "name", "version", name="data_assets_name"),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    _text("workspace", primary_key=True),
    _text("name", primary_key=True),
    _json("spec"),
    _json("keys_sha256"),
    _text("keys_sealed"),
    _json("traffic_before", nullable=True),
    _number("version"),
    _at("created_at"),
)

deployments = sa.Table(
    "deployments",
    metadata,
    _text("id", primary_key=True),
    _text("workspace"),
    _text("endpoint"),
    _text("name"),
    _json("spec"),
    _json("serving"),
    _number("replicas_made"),
    _number("replicas_old"),
    _number("replicas_wanted"),
    sa.Column("came_up", sa.Boolean, nullable=False),
    _text("status", index=True),
    _text("reason"),
    _number("version"),
    _at("created_at"),
    _at("changed_at"),
    sa.Index("deployments_name", "workspace", "endpoint", "name"),
)
rollouts = sa.Table(
    "rollouts",
    metadata,
    _text("id", primary_key=True),
    _text("workspace"),
    _text("endpoint"),
    _text("deployment"),
    _json("spec"),
    _json("before"),
    _number("step"),
    _at("step_at"),
    _text("status", index=True),
    _text("reason"),
    _number("version"),
    _at("created_at"),
    _at("changed_at"),
    sa.Index("rollouts_endpoint", "workspace", "endpoint"),
)

instances = sa.Table(
    "instances",
    metadata,
    _text("id", primary_key=True),  #: its compute's
    _text("workspace"),
    _text("name"),
    _text("owner"),
    _text("status"),
    _text("reason"),
    _number("runs_made"),
    _at("active_at"),
    _at("awake_until", nullable=True),
    _at("scheduled_at"),
    _number("version"),
    _at("created_at"),
    _at("changed_at"),
)

leases = sa.Table(
    "leases",
    metadata,
    _text("name", primary_key=True),
    _text("owner"),
    _number("generation"),
    _at("until"),
)
