"""How many replicas a deployment shall have when they follow the requests; whether it has ever come up."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    number, no = sa.Column("replicas_wanted", sa.BigInteger(), nullable=False, server_default="0"), sa.false()
    op.add_column("deployments", number)
    op.add_column("deployments", sa.Column("came_up", sa.Boolean(), nullable=False, server_default=no))
    op.execute("UPDATE deployments SET came_up = TRUE WHERE status IN ('Succeeded', 'Updating')")
