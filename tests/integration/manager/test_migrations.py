"""The migrations make exactly the tables that the code describes, however often and by however many they are run."""

import asyncio
from uuid import uuid4

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import make_engine
from caravan_manager.db.migrate import alembic_config, upgrade
from caravan_manager.db.tables import kernels, metadata, nodes

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


async def test_devices_that_are_held_get_the_model_that_their_node_tells(own_database: DatabaseSection) -> None:
    engine = make_engine(own_database)
    async with engine.connect() as connection:
        await connection.run_sync(lambda c: command.downgrade(alembic_config(c), "0011"))
        await connection.execute(text("SET session_replication_role = replica"))  # no foreign key is looked at
        told = [{"id": "g1", "slot": "cuda.shares", "model": "A100"}, {"id": "g2", "slot": "cuda.shares"}]
        node = {"node_id": uuid4(), "status": "ALIVE", "region": "local", "scaling_group": "default", "version": "1"}
        node |= {"architecture": "x86_64", "url": "", "slots": {}}
        await connection.execute(nodes.insert().values(name="n1", devices=told, **node))
        held = [
            {"id": name, "slot": "cuda.shares", "amount": amount} for name, amount in (("g1", "0.5"), ("gone", "1"))
        ]
        kernel = {"cluster_role": "main", "cluster_idx": 1, "cluster_hostname": "main1", "slots": {}}
        kernel |= {"id": uuid4(), "session_id": uuid4(), "status": "RUNNING"}
        await connection.execute(kernels.insert().values(node="n1", devices=held, **kernel))
        await connection.commit()
    await upgrade(own_database)
    async with engine.connect() as connection:
        devices = await connection.scalar(text("SELECT devices FROM kernels"))
        assert [(device["id"], device["amount"], device["model"]) for device in devices] == [
            ("g1", "0.5", "A100"),
            ("gone", "1", ""),
        ]
    await engine.dispose()
