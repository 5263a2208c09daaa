"""The checkpoint that the next attempt at a job begins with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("runs", sa.Column("checkpoint", sa.String(), nullable=True))
