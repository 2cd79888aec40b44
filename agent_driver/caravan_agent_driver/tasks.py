"""Work that goes on behind an answer: each piece in one task group, none of it able to take the agent down."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

import structlog

from caravan_common.service import end

log = structlog.get_logger()


class Background:
    """A task group for small jobs. Leaving the block cancels what still runs."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(self._tasks)
        await self._group.__aexit__(kind, error, trace)

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run ``work``; an error in it is logged and ends nothing else."""
        task = self._group.create_task(_guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _guarded(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("background.failed")
