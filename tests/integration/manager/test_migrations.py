"""The migrations make exactly the tables that the code describes, however often and by however many they are run."""

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import make_engine
from caravan_manager.db.migrate import upgrade
from caravan_manager.db.tables import metadata


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


async def test_the_migrations_make_the_tables_that_the_code_describes(database: DatabaseSection) -> None:
    engine = make_engine(database)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_managers_that_start_together_migrate_once(database: DatabaseSection) -> None:
    await asyncio.gather(*[upgrade(database) for _ in range(4)])
