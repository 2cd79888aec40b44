"""Sessions by name: the latest of any number of one name is found without reading the others"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEX = "ix_sessions_access_key_name_created_at"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # An upgrade that broke off leaves an index that is not valid.
        op.drop_index(INDEX, "sessions", if_exists=True, postgresql_concurrently=True)
        op.create_index(INDEX, "sessions", ["access_key", "name", "created_at"], postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index(INDEX, "sessions")
