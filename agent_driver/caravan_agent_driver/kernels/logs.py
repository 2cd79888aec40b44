"""What kernels wrote: followed while they run, bounded on the disk, readable live and for some days after the end."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol
from uuid import UUID

import structlog

from caravan_agent_driver.docker.engine import DockerError
from caravan_agent_driver.mounts.paths import opened_root, read_regular
from caravan_agent_driver.tasks import Background

log = structlog.get_logger()

_NOMAD_LOG = re.compile(r"main\.std(?:out|err)\.(\d+)")


class Source(Protocol):
    """Docker's log of a container."""

    def __call__(self, container: str, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield what the container wrote from its start, with ``follow`` until it ends. Raises DockerError."""
        ...


class BoundedLog:
    """The last ``limit`` bytes or so in two files: when `current` holds half of it, it becomes `previous`. Blocks."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._half = limit // 2
        self._size = 0

    def restart(self) -> None:
        """Begin an empty log."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "previous").unlink(missing_ok=True)
        (self._folder / "current").write_bytes(b"")
        self._size = 0

    def append(self, data: bytes) -> None:
        """Add to the end; what is too old goes."""
        for begin in range(0, len(data), self._half):
            part = data[begin : begin + self._half]
            if self._size + len(part) > self._half:
                (self._folder / "current").replace(self._folder / "previous")
                self._size = 0
            with (self._folder / "current").open("ab") as file:
                file.write(part)
            self._size += len(part)


def read_log(folder: Path) -> bytes | None:
    """Return what a BoundedLog kept, None when there is no log. Blocks."""
    parts: list[bytes] = []
    for name in ("previous", "current"):
        with suppress(FileNotFoundError):
            parts.append((folder / name).read_bytes())
    return b"".join(parts) if parts else None


def read_nomad_logs(alloc_dir: Path, limit: int) -> bytes:
    """Return the end of what Nomad kept of the task `main`, standard output first. Blocks.

    A kernel can write to this folder (it is /alloc there), so only regular files are read and no link is followed.
    """
    try:
        names = [path.name for path in (alloc_dir / "logs").iterdir() if _NOMAD_LOG.fullmatch(path.name)]
        with opened_root(alloc_dir) as root:
            ordered = sorted(names, key=lambda n: ("stderr" in n, int(n.rpartition(".")[2])))
            parts = [read_regular(root, PurePosixPath("logs") / name, limit) or b"" for name in ordered]
    except OSError:
        return b""
    return b"".join(parts)[-limit:]


def sweep_logs(root: Path, before: datetime, total: int) -> int:
    """Remove the logs last written before a moment, and the oldest of the rest beyond ``total`` bytes. Blocks."""
    if not root.is_dir():
        return 0
    logs = sorted(((_written(folder), folder) for folder in root.iterdir() if folder.is_dir()), reverse=True)
    removed = 0
    for written, folder in logs:
        total -= sum(file.stat().st_size for file in folder.iterdir())
        if written < before.timestamp() or total < 0:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _written(folder: Path) -> float:
    return max([folder.stat().st_mtime, *(file.stat().st_mtime for file in folder.iterdir())])


class KernelLogs:
    """The logs of this node's kernels below ``root``, at most ``limit`` bytes each."""

    def __init__(self, root: Path, limit: int, source: Source, background: Background) -> None:
        self._root = root
        self._limit = limit
        self._source = source
        self._background = background
        self._following: dict[UUID, asyncio.Task[None]] = {}

    def follow(self, kernel: UUID, container: str) -> None:
        """Begin to keep what the container writes, from its start; harmless while that goes on already."""
        if kernel not in self._following:
            task = self._background.spawn(self._keep(kernel, container))
            self._following[kernel] = task
            task.add_done_callback(lambda _: self._following.pop(kernel, None))

    async def finished(self, kernel: UUID, seconds: float) -> None:
        """Wait until the kernel's last output is kept, at most so long."""
        task = self._following.get(kernel)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)

    async def read(self, kernel: UUID) -> bytes | None:
        """Return what is kept of the kernel's output, None when there is nothing about it."""
        return await asyncio.to_thread(read_log, self._root / str(kernel))

    async def complete(self, kernel: UUID, alloc_dir: Path) -> None:
        """Take the log from Nomad's allocation folder when nothing could be followed."""
        if not await self.read(kernel):
            kept = await asyncio.to_thread(read_nomad_logs, alloc_dir, self._limit)
            if kept:
                await asyncio.to_thread(self._replace, kernel, kept)

    async def sweep(self, before: datetime, total: int) -> int:
        """Remove old logs, and the oldest beyond ``total`` bytes; gives how many."""
        return await asyncio.to_thread(sweep_logs, self._root, before, total)

    def _replace(self, kernel: UUID, content: bytes) -> None:
        kept = BoundedLog(self._root / str(kernel), self._limit)
        kept.restart()
        kept.append(content)

    async def _keep(self, kernel: UUID, container: str) -> None:
        """Keep the log while the container runs, and once more when it has ended.

        Docker 20.10 leaves parts of a followed log out when it rotates the file; read at the end it is whole.
        """
        try:
            await self._copy(kernel, self._source(container, follow=True))
            await self._copy(kernel, self._source(container, follow=False))
        except DockerError as err:
            log.info("log.not_followed", kernel=str(kernel), container=container[:12], error=str(err))

    async def _copy(self, kernel: UUID, written: AsyncIterator[bytes]) -> None:
        """Docker's log begins with the container's first output, so what was kept before is written anew."""
        kept = BoundedLog(self._root / str(kernel), self._limit)
        begun = False
        async for part in written:
            if not begun:
                await asyncio.to_thread(kept.restart)
                begun = True
            await asyncio.to_thread(kept.append, part)
