"""Brings the database to the newest schema, by Alembic. Managers that start together wait for each other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import make_engine

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x0CA8AFA2
"""The key of the advisory lock that one migration at a time holds."""


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for an open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
    command.upgrade(alembic_config(connection), "head")


async def upgrade(section: DatabaseSection) -> None:
    """Run every migration that the database lacks, in one transaction."""
    engine = make_engine(section)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()
