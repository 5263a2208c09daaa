"""Which replicas of a deployment are of before a change that takes new ones."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("replicas_old", sa.BigInteger(), nullable=False, server_default="0"))
