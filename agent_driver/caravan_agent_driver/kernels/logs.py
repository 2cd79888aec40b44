"""What kernels write: followed while they run, read whole at their end, and read live as Docker has it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

import structlog

from caravan_agent_driver.docker.engine import DockerError
from caravan_agent_driver.kernels.log_files import (
    BoundedLog,
    begin_container,
    read_earlier,
    read_log,
    sweep_logs,
)
from caravan_agent_driver.tasks import Background

log = structlog.get_logger()


NEVER_ROTATED = 1024 * 1024
"""Docker does not rotate a file so small: session jobs set ten times as much."""


class Source(Protocol):
    """Docker's log of a container."""

    def __call__(self, container: str, *, follow: bool, entries: int | None = None) -> AsyncIterator[bytes]:
        """Yield what the container wrote, from its start or its last ``entries``, with ``follow`` until it ends.

        Raises DockerError.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Following:
    """The container whose output is being kept, and what is kept so far."""

    container: str
    kept: BoundedLog
    task: asyncio.Task[None]


class KernelLogs:
    """The logs of this node's kernels below ``root``, at most ``limit`` bytes for each container.

    A kernel whose session was restarted has had several containers: its log goes through all of them, in order.
    """

    def __init__(self, root: Path, limit: int, source: Source, background: Background) -> None:
        self._root = root
        self._limit = limit
        self._source = source
        self._background = background
        self._following: dict[UUID, _Following] = {}

    def follow(self, kernel: UUID, container: str) -> None:
        """Begin to keep what the container writes, from its start; harmless while that goes on already."""
        before = self._following.get(kernel)
        if before is not None and before.container == container:
            return
        kept = BoundedLog(self._root / str(kernel), self._limit)
        task = self._background.spawn(self._keep(kernel, container, kept, before))
        following = _Following(container, kept, task)
        self._following[kernel] = following
        task.add_done_callback(lambda _: self._forget(kernel, following))

    def _forget(self, kernel: UUID, following: _Following) -> None:
        if self._following.get(kernel) is following:
            del self._following[kernel]

    async def finished(self, kernel: UUID, seconds: float) -> None:
        """Wait until the kernel's last output is kept, at most so long."""
        following = self._following.get(kernel)
        if following is not None:
            await asyncio.wait([following.task], timeout=seconds)

    async def read(self, kernel: UUID) -> bytes | None:
        """Return what the kernel wrote, as far as it is kept; None when no container of it was ever followed."""
        folder = self._root / str(kernel)
        following = self._following.get(kernel)
        if following is not None and await self._is_behind(following):
            return await asyncio.to_thread(read_earlier, folder) + await self._read_from_docker(following.container)
        kept = await asyncio.to_thread(read_log, folder)
        return b"" if kept is None and following is not None else kept

    async def _is_behind(self, following: _Following) -> bool:
        """Say whether the followed stream may have brought less than Docker has: other last words, or a rotated file.

        Docker 20.10 falls silent, or leaves parts out, in a stream that it follows over a rotation of its file.
        """
        if following.kept.in_docker > NEVER_ROTATED:
            return True
        try:
            last = [part async for part in self._source(following.container, follow=False, entries=1)]
        except DockerError:
            return False
        return not following.kept.end.endswith(b"".join(last))

    async def _read_from_docker(self, container: str) -> bytes:
        whole = bytearray()
        async for part in self._source(container, follow=False):
            whole += part
            if len(whole) > 2 * self._limit:
                del whole[: -self._limit]
        return bytes(whole[-self._limit :])

    async def sweep(self, before: datetime, total: int) -> int:
        """Remove old logs, and the oldest beyond ``total`` bytes; gives how many."""
        return await asyncio.to_thread(sweep_logs, self._root, before, total)

    async def _keep(self, kernel: UUID, container: str, kept: BoundedLog, before: _Following | None) -> None:
        """Keep the log while the container runs, and once more, whole, when it has ended."""
        folder = self._root / str(kernel)
        if before is not None:
            await asyncio.wait([before.task])
        await asyncio.to_thread(begin_container, folder, container, self._limit)
        try:
            await self._copy(self._source(container, follow=True), kept)
            await self._copy(self._source(container, follow=False), BoundedLog(folder / "again", self._limit))
            await asyncio.to_thread(kept.take, folder / "again")
        except DockerError as err:
            log.info("log.not_followed", kernel=str(kernel), container=container[:12], error=str(err))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder / "again", ignore_errors=True)

    async def _copy(self, written: AsyncIterator[bytes], kept: BoundedLog) -> None:
        """Docker's log begins with the container's first output, so what was kept before is written anew."""
        begun = False
        async for part in written:
            if not begun:
                await asyncio.to_thread(kept.restart)
                begun = True
            await asyncio.to_thread(kept.append, part)
