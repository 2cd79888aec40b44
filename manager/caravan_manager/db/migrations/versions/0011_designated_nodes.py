"""On which nodes a session must be: one for all of its kernels, or one for each"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    nothing = sa.text("'{}'")
    op.add_column("sessions", sa.Column("designated", ARRAY(sa.String), nullable=False, server_default=nothing))


def downgrade() -> None:
    op.drop_column("sessions", "designated")
