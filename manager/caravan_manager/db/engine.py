"""The engine, and the transactions that services open on it."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import orjson
from sqlalchemy import URL, Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from caravan_manager.config import DatabaseSection
from caravan_manager.db.reading import Reader

AnyRow = Row[*tuple[Any, ...]]
"""A row of any query; only repositories see one."""

Transaction = AsyncConnection
"""An open transaction: commits when its block ends, rolls back when the block raises."""


class Begin(Protocol):
    """What services are given of the database: it opens transactions, and runs single reads."""

    @property
    def reader(self) -> Reader:
        """What runs the hottest reads, outside any transaction."""
        ...

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction."""
        ...


def _dump(value: object) -> str:
    return orjson.dumps(value, default=str).decode()


def database_url(section: DatabaseSection) -> URL:
    """Return the URL of the database, for the engine and for Alembic."""
    return URL.create(
        "postgresql+asyncpg",
        username=section.user,
        password=section.password.get_secret_value(),
        host=section.host,
        port=section.port,
        database=section.name,
    )


def make_engine(section: DatabaseSection, statement_seconds: float = 30) -> AsyncEngine:
    """Make the engine; it connects when the first transaction begins."""
    return create_async_engine(
        database_url(section),
        json_serializer=_dump,
        json_deserializer=orjson.loads,
        pool_size=section.pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,
        connect_args={
            "timeout": 5,
            "command_timeout": statement_seconds,
            "server_settings": {"application_name": "caravan-manager"},
        },
    )


class Database:
    """The engine's transactions, and the reader beside them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.reader = Reader(engine.url)

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction."""
        return self._engine.begin()

    async def close(self) -> None:
        """Close every connection."""
        await self.reader.close()
        await self._engine.dispose()
