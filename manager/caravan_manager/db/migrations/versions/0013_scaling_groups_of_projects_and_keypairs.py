"""Scaling groups that are open to one project or one keypair, not to all of a domain"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add("scaling_groups_of_projects", sa.Column("project_id", sa.UUID(), nullable=False), "projects.id")
    _add("scaling_groups_of_keypairs", sa.Column("access_key", sa.String(20), nullable=False), "keypairs.access_key")


def _add(table: str, guest: sa.Column[object], known_as: str) -> None:
    op.create_table(
        table,
        sa.Column("scaling_group", sa.String(64), nullable=False),
        guest,
        sa.ForeignKeyConstraint(
            ["scaling_group"], ["scaling_groups.name"], name=op.f(f"fk_{table}_scaling_group"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint([guest.name], [known_as], name=op.f(f"fk_{table}_{guest.name}"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scaling_group", guest.name, name=op.f(f"pk_{table}")),
    )
    op.create_index(op.f(f"ix_{table}_{guest.name}"), table, [guest.name])


def downgrade() -> None:
    op.drop_table("scaling_groups_of_keypairs")
    op.drop_table("scaling_groups_of_projects")
