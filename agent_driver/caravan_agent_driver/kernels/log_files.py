"""Logs on the disk: the last part of what each kernel wrote, readable for some days after its end. All of it blocks."""

import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from caravan_agent_driver.kernels.store import write_atomically

LONGEST_ENTRY = 16 * 1024
"""Docker cuts longer lines into entries of this size."""
JSON_OVERHEAD = 80


class BoundedLog:
    """The last ``limit`` bytes or so in two files: when `current` holds half of it, it becomes `previous`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._half = limit // 2
        self._size = 0
        self.end = b""
        """The last bytes that were added: Docker's longest entry fits in."""
        self.in_docker = 0
        """About how many bytes Docker's file has taken for what was added: JSON, one object a line."""

    def restart(self) -> None:
        """Begin an empty log."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "previous").unlink(missing_ok=True)
        (self._folder / "current").write_bytes(b"")
        self._size = 0
        self.end = b""
        self.in_docker = 0

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
        self.end = (self.end + data)[-LONGEST_ENTRY:]
        self.in_docker += len(data) + data.count(b"\n") * JSON_OVERHEAD

    def take(self, fresh: Path) -> None:
        """Let the log that another one kept in ``fresh`` take this one's place."""
        for name in ("previous", "current"):
            with suppress(FileNotFoundError):
                (self._folder / name).unlink()
            with suppress(FileNotFoundError):
                (fresh / name).replace(self._folder / name)
        shutil.rmtree(fresh, ignore_errors=True)


def begin_container(folder: Path, container: str, limit: int) -> None:
    """Begin the log of a kernel's container. What earlier ones wrote stays before it: half the limit of it."""
    marker = folder / "container"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = marker.read_text(encoding="utf-8") if marker.exists() else container
    if known != container:
        write_atomically(folder / "earlier", (read_log(folder) or b"")[-(limit // 2) :], 0o600)
        BoundedLog(folder, limit).restart()
    write_atomically(marker, container.encode(), 0o600)


def read_log(folder: Path) -> bytes | None:
    """Return what is kept of a kernel's output, None when no container of it was followed."""
    if not folder.is_dir():
        return None
    parts: list[bytes] = []
    for name in ("earlier", "previous", "current"):
        with suppress(FileNotFoundError):
            parts.append((folder / name).read_bytes())
    return b"".join(parts)


def read_earlier(folder: Path) -> bytes:
    """Return what is kept of the containers before the last one."""
    path = folder / "earlier"
    return path.read_bytes() if path.exists() else b""


def sweep_logs(root: Path, before: datetime, total: int) -> int:
    """Remove the logs last written before a moment, and the oldest of the rest beyond ``total`` bytes."""
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
