"""Brings the database to the newest schema, by Alembic. Managers that start together wait for each other."""

import asyncio
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import make_engine

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x0CA8AFA2
"""The key of the advisory lock that one migration at a time holds."""
LOOK_SECONDS = 0.2
LONGEST_SECONDS = 3600
"""How long one statement may take: an index of a large table."""


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for an open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")


async def upgrade(section: DatabaseSection) -> None:
    """Run every migration that the database lacks, each in a transaction of its own."""
    engine = make_engine(section, statement_seconds=LONGEST_SECONDS)
    try:
        async with engine.connect() as connection:
            if not await _locked(connection):
                log.info("database.migration_awaited")  # another process has the lock, or an index that it began
                while not await _locked(connection):  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(LOOK_SECONDS)
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def _locked(connection: AsyncConnection) -> bool:
    """Take the lock, until the connection ends, if it is free.

    Who waited inside a statement would keep a snapshot, and an index that is built concurrently waits for all of those.
    """
    taken = await connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": LOCK})
    await connection.commit()
    return bool(taken)
