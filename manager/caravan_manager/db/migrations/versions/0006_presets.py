"""Presets: sets of slots under a name"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "resource_presets",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("resource_slots", postgresql.JSONB(), nullable=False),
        sa.Column("shared_memory", sa.BigInteger(), nullable=True),
        sa.Column("scaling_group", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["scaling_group"],
            ["scaling_groups.name"],
            name=op.f("fk_resource_presets_scaling_group"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource_presets")),
        sa.UniqueConstraint(
            "name",
            "scaling_group",
            name=op.f("uq_resource_presets_name_scaling_group"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_resource_presets_scaling_group"), "resource_presets", ["scaling_group"])


def downgrade() -> None:
    op.drop_table("resource_presets")
