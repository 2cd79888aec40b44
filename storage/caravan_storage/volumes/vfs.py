"""Backend ``vfs``: folders are plain directories of a mounted file system."""

import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from caravan_common.ids import folder_path
from caravan_common.wire.storage import FolderRef, FolderUsage
from caravan_storage.volumes import partial
from caravan_storage.volumes.beneath import Ownership, directory, directory_made
from caravan_storage.volumes.folder import Folder
from caravan_storage.volumes.paths import Parts
from caravan_storage.volumes.refusals import FolderMissingError, explained
from caravan_storage.volumes.removal import remove_tree
from caravan_storage.volumes.walk import Visit

log = structlog.get_logger()

TRASH = ".trash-"
_HEX_LEVELS = (32, 2, 2, 28)
_HEX = re.compile(r"^[0-9a-f]+$")


@dataclass(frozen=True, slots=True)
class VfsVolume:
    """A directory that holds folders, laid out as ``caravan_common.ids.folder_path`` says."""

    name: str
    path: Path
    owner: Ownership

    backend: str = "vfs"
    capabilities: tuple[str, ...] = ("vfolder",)

    def usage_percent(self) -> float:
        """How full the file system below the volume is, 0 to 100, as ``df`` counts."""
        with explained(self.name):
            status = os.statvfs(self.path)
        used = status.f_blocks - status.f_bfree
        usable = used + status.f_bavail
        return 100 * used / usable if usable else 0.0

    def create_folder(self, ref: FolderRef) -> None:
        """Make the folder; one that exists is left as it is."""
        *above, name = _parts(ref)
        with (
            explained("the folder"),
            self._root() as root,
            directory_made(root, tuple(above)) as parent,
            directory_made(parent, (name,), self.owner) as made,
        ):
            os.fsync(made)
            os.fsync(parent)

    def delete_folder(self, ref: FolderRef) -> None:
        """Rename the folder out of the way, so that it is gone at once and wholly; the sweep removes it."""
        *above, name = _parts(ref)
        with explained("the folder"), self._root() as root:
            try:
                with directory(root, tuple(above)) as parent:
                    os.rename(name, TRASH + uuid4().hex, src_dir_fd=parent, dst_dir_fd=root)
                    os.fsync(parent)
            except FileNotFoundError:
                return

    @contextmanager
    def open_folder(self, ref: FolderRef) -> Generator[Folder, None, None]:
        """Open the folder. Raises FolderMissingError."""
        with explained("the folder"):
            opened = self._open(ref)
        try:
            yield Folder(opened, self.owner)
        finally:
            os.close(opened)

    def measure(self, ref: FolderRef, seconds: float) -> FolderUsage:
        """Count files and bytes; what was counted until ``seconds`` went by is an answer too."""
        deadline = time.monotonic() + seconds
        files = size = 0
        with self.open_folder(ref) as folder, folder.walking(()) as visits:
            for visit in visits:
                if time.monotonic() > deadline:
                    log.warning("folder.usage.incomplete", volume=self.name, folder=ref.folder, files=files)
                    break
                found = _file_size(visit)
                if found is not None:
                    files, size = files + 1, size + found
        return FolderUsage(files=files, bytes=size)

    def sweep(self, uploads_before: float) -> Generator[int, None, None]:
        """Remove deleted folders, and uploads untouched since then (epoch seconds), in small steps."""
        with self._root() as root:
            for name in _names(root, lambda name: name.startswith(TRASH)):
                yield from _removed(root, name)
            for folder in _all_folders(root, ()):
                yield _swept(root, folder, uploads_before)

    def _open(self, ref: FolderRef) -> int:
        try:
            with self._root() as root, directory(root, _parts(ref)) as opened:
                return os.dup(opened)
        except FileNotFoundError as err:
            raise FolderMissingError(f"volume {self.name} has no folder {ref.folder}") from err

    @contextmanager
    def _root(self) -> Generator[int, None, None]:
        opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield opened
        finally:
            os.close(opened)


def _parts(ref: FolderRef) -> Parts:
    return folder_path(ref.quota_scope, ref.folder).parts


def _file_size(visit: Visit) -> int | None:
    """Return the size of a file or link; None for a directory or what vanished."""
    try:
        if visit.entry.is_dir(follow_symlinks=False):
            return None
        return visit.entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _removed(root: int, name: str) -> Generator[int, None, None]:
    try:
        for _ in remove_tree(root, name):
            yield 0
    except OSError as err:
        log.warning("folder.not_removed", trash=name, error=err.strerror)
        return
    yield 1


def _swept(root: int, folder: Parts, before: float) -> int:
    try:
        with directory(root, folder) as opened:
            return partial.sweep(opened, before)
    except OSError as err:
        log.warning("uploads.not_swept", folder="".join(folder[1:]), error=err.strerror)
        return 0


def _all_folders(root: int, above: Parts) -> Iterator[Parts]:
    """Yield the parts of each folder of the volume. Other directories are left alone."""
    with directory(root, above) as opened:
        names = _names(opened, lambda name: len(name) == _HEX_LEVELS[len(above)] and _HEX.match(name) is not None)
    for name in names:
        parts = (*above, name)
        if len(parts) == len(_HEX_LEVELS):
            yield parts
        else:
            yield from _all_folders(root, parts)


def _names(opened: int, wanted: Callable[[str], bool]) -> list[str]:
    with os.scandir(opened) as entries:
        return [entry.name for entry in entries if wanted(entry.name)]
