"""Nodes say which volumes they have: a session goes only where its folders are"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("nodes", sa.Column("volumes", sa.ARRAY(sa.String()), server_default=sa.text("'{}'"), nullable=False))


def downgrade() -> None:
    op.drop_column("nodes", "volumes")
