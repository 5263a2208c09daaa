"""Hosts have a pool, and may be clusters whose room is not ours to count."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("hosts", sa.Column("pool", sa.String(), nullable=False, server_default="local"))
    op.add_column("hosts", sa.Column("is_bounded", sa.Boolean(), nullable=False, server_default=sa.true()))
