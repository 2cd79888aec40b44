"""Keeps what passes decided, beside them: a pass hands it over and goes on, and no failure here is one of a pass."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.scheduler import metrics
from caravan_manager.scheduler.decisions import repository
from caravan_manager.scheduler.decisions.packed import PackedPass
from caravan_manager.scheduler.snapshot import Plan, Snapshot

log = structlog.get_logger()

Record = Callable[[Snapshot, Plan], object]
"""Takes over a pass; it neither waits nor raises."""

MOST_WAITING = 16
"""How many passes may wait to be written; what comes then is left out and counted."""
PRUNE_AFTER = 100
"""So many passes are written from one removal of old ones to the next."""
PRUNE_SECONDS = 3600.0
"""So long it takes from one removal to the next where nothing is written."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: no pass that is older, and no more bytes in all. With 0 bytes nothing is."""

    lifetime: timedelta
    most_bytes: int


class DecisionLog:
    """:meth:`run` writes what :meth:`record` was given, removes what is old, and never ends by itself."""

    def __init__(self, begin: Begin, keep: Keep, clock: Callable[[], datetime]) -> None:
        self._begin = begin
        self._keep = keep
        self._clock = clock
        self._waiting: deque[tuple[Snapshot, Plan]] = deque()
        self._news = asyncio.Event()
        self._last: PackedPass | None = None
        self._until_pruning = 0

    def record(self, snapshot: Snapshot, decided: Plan) -> None:
        """Take over a pass that decided something."""
        if not snapshot.pending or not self._keep.most_bytes:
            return
        if len(self._waiting) == MOST_WAITING:
            metrics.PASSES_NOT_KEPT.inc()
            return
        self._waiting.append((snapshot, decided))
        self._news.set()

    async def run(self) -> None:
        """Write whenever there is something, and remove old passes also when nothing comes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_news())
            group.create_task(self._prune_hourly())

    async def write(self) -> None:
        """Write all that waits. What cannot be written is told and left out."""
        while self._waiting:
            snapshot, decided = self._waiting.popleft()
            try:
                await self._write(await asyncio.to_thread(PackedPass.of, snapshot, decided))
            except Exception:  # whatever happens, the passes go on, and so does this loop
                metrics.PASSES_NOT_KEPT.inc()
                log.exception("scheduler.pass_not_kept")

    async def prune(self) -> None:
        """Remove what is older, and more, than is kept. Where that fails it is told, and the next time does it."""
        try:
            async with self._begin() as tx:
                await self._prune(tx)
        except Exception:  # as above
            log.exception("scheduler.passes_not_pruned")

    async def _write_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.write()

    async def _prune_hourly(self) -> None:
        while True:
            await self.prune()
            await asyncio.sleep(PRUNE_SECONDS)

    async def _prune(self, tx: Transaction) -> None:
        await repository.prune(tx, self._clock() - self._keep.lifetime, self._keep.most_bytes)

    async def _write(self, made: PackedPass) -> None:
        if self._last is not None and made.says_the_same_as(self._last):
            return
        async with self._begin() as tx:
            await repository.add(tx, made)
            if self._until_pruning == 0:
                await self._prune(tx)
        self._last = made
        self._until_pruning = (self._until_pruning or PRUNE_AFTER) - 1
