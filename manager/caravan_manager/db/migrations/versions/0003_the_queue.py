"""The queue: sessions that wait for a time or for others, may run only so long, and are placed again"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sessions", sa.Column("batch_timeout_seconds", sa.Double(), nullable=True))
    op.add_column("sessions", sa.Column("deadline", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sessions", sa.Column("attempt", sa.Integer(), server_default="1", nullable=False))
    op.create_table(
        "session_dependencies",
        sa.Column("session_id", sa.UUID(), nullable=False),
        sa.Column("depends_on", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_session_dependencies_session_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["depends_on"], ["sessions.id"], name=op.f("fk_session_dependencies_depends_on"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "depends_on", name=op.f("pk_session_dependencies")),
    )
    op.create_index(op.f("ix_session_dependencies_depends_on"), "session_dependencies", ["depends_on"])


def downgrade() -> None:
    op.drop_table("session_dependencies")
    for name in ("attempt", "deadline", "batch_timeout_seconds", "starts_at"):
        op.drop_column("sessions", name)
