"""Reads that nearly every request makes: compiled once, and run by asyncpg itself. All else goes through transactions.

SQLAlchemy's part of a small query costs several times what the query does; here it only writes the text, at the start.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# asyncpg carries no types; what it answers is given a type here.

import asyncio
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
from sqlalchemy import URL, BindParameter, Select, bindparam
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.types import TypeEngine

from caravan_common.errors import UnavailableError

CONNECTIONS = 4
"""How many reads run at the same moment."""
WAIT_SECONDS = 10
STATEMENT_SECONDS = 30

_DIALECT = dialects.PGDialect_asyncpg()  # type: ignore[no-untyped-call]
ReadRow = Any
"""A row with the columns of a query as attributes."""


def parameter(name: str, kind: TypeEngine[Any]) -> BindParameter[Any]:
    """Return a parameter of a query, to be given each time it runs."""
    return bindparam(name, type_=kind, required=False)


class Query:
    """A select with such parameters, as the text that PostgreSQL is sent."""

    def __init__(self, statement: Select[Any]) -> None:
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.text = str(compiled)
        self._order: Sequence[str] = compiled.positiontup or ()
        self._fixed = compiled.construct_params()
        columns = [column.name for column in statement.selected_columns]
        self._row: Any = namedtuple("Row", columns)  # type: ignore[misc]

    def arguments(self, values: dict[str, object]) -> list[object]:
        """Return the values in the order in which the text has them."""
        return [values[name] if name in values else self._fixed[name] for name in self._order]

    def row(self, record: Any) -> ReadRow:
        """Return one of asyncpg's records as a row."""
        return self._row._make(record)


class Reader:
    """Runs queries, each by itself: what it reads is committed, and nothing is locked. Connects when it is used."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def rows(self, query: Query, **values: object) -> list[ReadRow]:
        """Return the rows of a query. Raises UnavailableError when PostgreSQL is away or too busy."""
        try:
            pool = self._pool or await self._open()
            async with pool.acquire(timeout=WAIT_SECONDS) as connection:
                records = await connection.fetch(query.text, *query.arguments(values))
        except (TimeoutError, OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as err:
            raise UnavailableError("the database does not answer") from err
        return [query.row(record) for record in records]

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    host=self._url.host,
                    port=self._url.port,
                    user=self._url.username,
                    password=self._url.password,
                    database=self._url.database,
                    min_size=0,
                    max_size=CONNECTIONS,
                    init=_prepare,
                    reset=_leave,
                    timeout=5,
                    command_timeout=STATEMENT_SECONDS,
                    server_settings={"application_name": "caravan-manager-reads"},
                )
            return self._pool

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


async def _prepare(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=_dump, decoder=orjson.loads)


async def _leave(_: Any) -> None:
    """Leave a connection as it is: a read changes nothing about it, and resetting costs as much as the read."""


def _dump(value: object) -> str:
    return orjson.dumps(value, default=str).decode()
