"""Services that load scales: where their gateways count who waits, and whether somebody has set the number by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("services", sa.Column("slot", sa.Integer))
    op.add_column("services", sa.Column("pinned_at", sa.Double))
