"""Carries news of sessions between the managers of a cluster, through a short stream in Redis. Hints, no truth.

What a manager tells, its own waiters and followers have already; Redis may be away or lose all, and stops no move.
"""

import asyncio
from typing import Any
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from caravan_common.wire.events import Stream
from caravan_manager.reconcile.watcher import retrying
from caravan_manager.sessions import metrics
from caravan_manager.sessions.news import News, SessionNews

log = structlog.get_logger()

BATCH = 200
BLOCK_MILLISECONDS = 5000
SEND_SECONDS = 5.0
START = "0-0"
NEWS: TypeAdapter[News] = TypeAdapter(News)


class NewsExchange:
    """Sends this process's news, in order, and hears the others': :meth:`send` and :meth:`hear` are a task each."""

    def __init__(self, redis: Redis, stream: Stream, news: SessionNews) -> None:
        self._redis = redis
        self._stream = stream
        self._news = news
        self._me = uuid4().bytes
        self._unsent: list[News] = []
        self._heard: str | None = None
        """The ID of the last entry that was read."""

    async def send(self) -> None:
        """Send this process's news for ever."""
        await retrying(f"{self._stream.key} (send)", self._send, self._news.missed)

    async def hear(self) -> None:
        """Hear the others' news for ever."""
        await retrying(f"{self._stream.key} (hear)", self._hear, self._news.missed)

    async def _send(self) -> None:
        """Send what there is with one round trip; what an outage stopped is sent first, perhaps twice."""
        if not self._unsent:
            self._unsent = await self._news.to_send(BATCH)
        async with asyncio.timeout(SEND_SECONDS), self._redis.pipeline(transaction=False) as pipe:
            for news in self._unsent:
                fields: Any = {b"from": self._me, b"news": NEWS.dump_json(news)}
                pipe.xadd(self._stream.key, fields, maxlen=self._stream.length, approximate=True)
            await pipe.execute()
        metrics.PUBLISHED.inc(len(self._unsent))
        self._unsent = []

    async def _hear(self) -> None:
        last = self._heard = self._heard or await self._newest()
        found: Any = await self._redis.xread({self._stream.key: last}, count=BATCH, block=BLOCK_MILLISECONDS)
        for _, entries in found:
            for entry, fields in entries:
                self._heard = entry.decode()
                self._one(fields)
        if not found and _number(await self._newest()) < _number(last):
            self._heard = START  # Redis lost its data, and counts from an earlier time than before

    async def _newest(self) -> str:
        newest: Any = await self._redis.xrevrange(self._stream.key, count=1)
        return newest[0][0].decode() if newest else START

    def _one(self, fields: dict[bytes, bytes]) -> None:
        if fields.get(b"from") == self._me:
            return
        try:
            self._news.heard(NEWS.validate_json(fields[b"news"]))
        except (KeyError, ValidationError) as err:
            log.warning("news.unreadable", error=str(err))


def _number(entry: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split("-"))
