"""Alembic's entry: runs migrations on the connection that it is given."""

from alembic import context

from caravan_manager.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    transactional_ddl=True,
    transaction_per_migration=True,
)
context.run_migrations()
