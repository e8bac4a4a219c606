"""What the router predicted, beside what a request took."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("usage", sa.Column("predicted_ttft_s", sa.Double, nullable=False, server_default="0"))
