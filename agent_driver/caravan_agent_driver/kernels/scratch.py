"""A kernel's scratch folder: `work` becomes /home/work, `config` becomes /home/config. All of it blocks."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from uuid import UUID

from caravan_agent_driver.mounts.table import mounts_below, remove_tree, unmount_below
from caravan_common.failpoints import Failpoint

MADE = Failpoint("agent.prepare.folders.made")
UNMOUNTED = Failpoint("agent.cleanup.folders.unmounted")


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch folders of all kernels below ``root``; files in them belong to ``uid`` and ``gid``."""

    root: Path
    uid: int
    gid: int

    def home(self, kernel: UUID) -> Path:
        """Return the host's side of the kernel's /home/work."""
        return self.root / str(kernel) / "work"

    def make(self, kernel: UUID, config: Mapping[str, bytes]) -> None:
        """Make the folders, without any mount, and write the files of /home/config. Repeating it is harmless."""
        folder = self.root / str(kernel)
        unmount_below(folder)
        for path, mode in ((self.root, 0o711), (folder, 0o711), (folder / "work", 0o755)):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        os.chown(folder / "work", self.uid, self.gid)
        MADE.reach()
        self._write_config(folder / "config", config)

    def _write_config(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write the configuration anew: root's, readable by the kernel's group, by nobody else."""
        shutil.rmtree(folder, ignore_errors=True)
        for directory in (folder, folder / "environ.d", folder / "ssh"):
            directory.mkdir()
            os.chown(directory, 0, self.gid)
            directory.chmod(0o750)
        for name, content in files.items():
            self._write(folder / name, content)

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all."""
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600, exist_ok=False)
        new.write_bytes(content)
        os.chown(new, 0, self.gid)
        new.chmod(0o640)
        new.replace(path)

    def release(self, kernel: UUID, files: Mapping[str, bytes]) -> None:
        """Write what the kernel learns as it begins, and tell its entrypoint, if it waits, to begin.

        Repeating it is harmless, and so is a kernel unknown. One that has begun learns nothing more: a restart must
        find what it was told.
        """
        folder = self.root / str(kernel) / "config"
        if not folder.is_dir() or (folder / "released").exists():
            return
        for name, content in files.items():
            self._write(folder / name, content)
        (folder / "released").touch(mode=0o644)

    def is_complete(self, kernel: UUID, targets: Iterable[PurePosixPath]) -> bool:
        """Say whether the folders are there and each of the targets (below home) is a mount."""
        mounted = set(mounts_below(self.root / str(kernel)))
        home = self.home(kernel).resolve()
        return home.is_dir() and all(home / target in mounted for target in targets)

    def unmount(self, kernel: UUID) -> None:
        """Take all mounts in the kernel's folder away."""
        unmount_below(self.root / str(kernel))

    def remove(self, kernel: UUID) -> None:
        """Unmount everything and remove the kernel's folder; what had been mounted stays as it is."""
        folder = self.root / str(kernel)
        unmount_below(folder)
        UNMOUNTED.reach()
        remove_tree(folder)

    def list_old(self, before: datetime) -> list[UUID]:
        """Return the kernels whose folders were last changed before a moment."""
        if not self.root.is_dir():
            return []
        return [
            UUID(path.name)
            for path in self.root.iterdir()
            if _is_uuid(path.name) and datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
        ]


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
