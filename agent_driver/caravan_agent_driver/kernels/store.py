"""What the agent remembers of its kernels: in memory, and as one 0600 file each in the state folder."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from caravan_agent_driver.kernels.model import Kernel
from caravan_common.failpoints import Failpoint
from caravan_common.service import to_its_end

log = structlog.get_logger()

_RECORD: TypeAdapter[Kernel] = TypeAdapter(Kernel)

WRITTEN = Failpoint("agent.store.written-aside")


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` at ``path`` so that a reader, or a crash, sees the old or the new file and nothing between."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    WRITTEN.reach()
    fresh.replace(path)


def _read(folder: Path) -> list[Kernel]:
    for unfinished in folder.glob(".*.new"):  # of a process that died while it wrote; it may hold secrets
        unfinished.unlink()
    kernels: list[Kernel] = []
    for path in sorted(folder.glob("*.json")):
        try:
            kernels.append(_RECORD.validate_json(path.read_bytes()))
        except ValidationError as err:
            log.error("kernel.record_unreadable", path=str(path), errors=err.error_count())  # noqa: TRY400 - no secrets
            path.replace(path.with_suffix(".unreadable"))
    return kernels


class KernelStore:
    """The kernels of this node by ID, and a lock for each, which who prepares or cleans it holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kernels: dict[UUID, Kernel] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._writing: dict[UUID, asyncio.Lock] = {}
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._unsaved: set[UUID] = set()
        self._listeners: list[Callable[[UUID], None]] = []

    def on_change(self, listener: Callable[[UUID], None]) -> None:
        """Have ``listener`` called with a kernel's ID after each change in memory."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read what an earlier agent left. Call once, before anything else."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        for kernel in await asyncio.to_thread(_read, self._folder):
            self.set(kernel)
        self._unsaved.clear()
        for kernel in self:
            if kernel.is_told:
                await self.forget(kernel.kernel)

    async def flush(self) -> None:
        """Save what is not saved yet."""
        for kernel in list(self._unsaved):
            await self.save(kernel)

    def find(self, kernel: UUID) -> Kernel | None:
        """Return the kernel, or None."""
        return self._kernels.get(kernel)

    def __iter__(self) -> Iterator[Kernel]:
        return iter(list(self._kernels.values()))

    def lock(self, kernel: UUID) -> asyncio.Lock:
        """Return the kernel's lock."""
        return self._locks.setdefault(kernel, asyncio.Lock())

    def set(self, kernel: Kernel) -> Kernel:
        """Remember the kernel in memory; ``save`` brings it to the disk."""
        self._kernels[kernel.kernel] = kernel
        self._unsaved.add(kernel.kernel)
        self._tell(kernel.kernel)
        return kernel

    async def put(self, kernel: Kernel) -> Kernel:
        """Remember the kernel: at once in memory, and on the disk when this returns."""
        self.set(kernel)
        await self.save(kernel.kernel)
        return kernel

    async def replace(self, known: Kernel, following: Kernel) -> None:
        """Let ``following`` take the place of ``known``: on the disk first, and only then seen by anyone.

        When something else happened to the kernel meanwhile, that stays.
        """
        async with self._writing.setdefault(known.kernel, asyncio.Lock()):
            await self._write(known.kernel, following)
            if self.find(known.kernel) is known:
                self.set(following)
            else:
                await self._write(known.kernel, self.find(known.kernel))

    async def forget(self, kernel: UUID) -> None:
        """Forget the kernel, in memory and on the disk."""
        self._kernels.pop(kernel, None)
        await self.save(kernel)
        for locks in (self._writing, self._locks):
            held = locks.get(kernel)
            if held is not None and not held.locked():
                del locks[kernel]

    async def wait(self, kernel: UUID, until: Callable[[Kernel | None], bool]) -> Kernel | None:
        """Wait until the kernel, or None while it is unknown, is as ``until`` wants it."""
        while not until(self.find(kernel)):
            changed = asyncio.Event()
            self._waiting.setdefault(kernel, set()).add(changed)
            try:
                await changed.wait()
            finally:
                waiting = self._waiting.get(kernel, set())
                waiting.discard(changed)
                if not waiting:
                    self._waiting.pop(kernel, None)
        return self.find(kernel)

    async def save(self, kernel: UUID) -> None:
        """Bring the kernel's file to what memory says now; concurrent writers of one kernel take turns."""
        async with self._writing.setdefault(kernel, asyncio.Lock()):
            await self._write(kernel, self.find(kernel))

    async def _write(self, kernel: UUID, record: Kernel | None) -> None:
        path = self._folder / f"{kernel}.json"
        self._unsaved.discard(kernel)
        if record is None:
            await to_its_end(asyncio.to_thread(path.unlink, True))
        else:
            await to_its_end(asyncio.to_thread(write_atomically, path, _RECORD.dump_json(record), 0o600))

    def _tell(self, kernel: UUID) -> None:
        for listener in self._listeners:
            listener(kernel)
        for changed in self._waiting.get(kernel, ()):
            changed.set()
