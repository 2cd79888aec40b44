"""What the scheduler's passes decided, and what from"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NUMBERS = ("pending", "placed", "placements", "waits", "cancellations", "bytes")


def upgrade() -> None:
    op.create_table(
        "scheduler_passes",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in NUMBERS),
        sa.Column("snapshot", sa.LargeBinary, nullable=False),
        sa.Column("decisions", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scheduler_passes"),
    )
    op.create_index("ix_scheduler_passes_taken_at", "scheduler_passes", ["taken_at"])
    for name in ("snapshot", "decisions"):  # they are compressed already
        op.execute(f"ALTER TABLE scheduler_passes ALTER COLUMN {name} SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("scheduler_passes")
