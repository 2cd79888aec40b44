"""Of which endpoint a session is a replica, so that the scheduler can spread these over the nodes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("endpoint_id", UUID(as_uuid=True)))


def downgrade() -> None:
    op.drop_column("sessions", "endpoint_id")
