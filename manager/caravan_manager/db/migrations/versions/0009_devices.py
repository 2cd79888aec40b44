"""The accelerators of nodes, and which of them each kernel holds"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("nodes", "kernels"):
        op.add_column(table, sa.Column("devices", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")))


def downgrade() -> None:
    for table in ("kernels", "nodes"):
        op.drop_column(table, "devices")
