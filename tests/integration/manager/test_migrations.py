"""The migrations make exactly the tables that the code describes, however often and by however many they are run."""

import asyncio

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import make_engine
from caravan_manager.db.migrate import alembic_config, upgrade
from caravan_manager.db.tables import metadata

INDEX = "ix_sessions_access_key_name_created_at"


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


async def test_the_migrations_make_the_tables_that_the_code_describes(own_database: DatabaseSection) -> None:
    engine = make_engine(own_database)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_managers_that_start_together_migrate_once(own_database: DatabaseSection) -> None:
    engine = make_engine(own_database)
    async with engine.connect() as connection:
        await connection.run_sync(lambda c: command.downgrade(alembic_config(c), "base"))
        await connection.commit()
    await asyncio.gather(*[upgrade(own_database) for _ in range(4)])
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_an_index_that_an_upgrade_left_half_made_is_made_anew(own_database: DatabaseSection) -> None:
    engine = make_engine(own_database)
    async with engine.connect() as connection:
        await connection.run_sync(lambda c: command.downgrade(alembic_config(c), "0006"))
        await connection.execute(text(f"create index {INDEX} on sessions (access_key)"))
        await connection.execute(
            text("update pg_index set indisvalid = false where indexrelid = to_regclass(:name)"), {"name": INDEX}
        )
        await connection.commit()
    await upgrade(own_database)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
        assert await connection.scalar(text("select count(*) from pg_index where not indisvalid")) == 0
    await engine.dispose()
