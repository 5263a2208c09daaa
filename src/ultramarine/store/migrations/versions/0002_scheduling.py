"""Who asked for a run and how firmly it holds its place; quotas of workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("quota", sa.JSON(), nullable=True))
    for name, kind, default in (
        ("user", sa.String(), ""),
        ("tier", sa.String(), "standard"),
        ("gpu_ids", sa.JSON(), "{}"),
        ("asked_at", sa.BigInteger(), "0"),
    ):
        op.add_column("runs", sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("runs", sa.Column("timeout_s", sa.BigInteger(), nullable=True))
    op.execute("UPDATE runs SET asked_at = created_at")
