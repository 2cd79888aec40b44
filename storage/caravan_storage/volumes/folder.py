"""What can be done inside one open folder. Every method blocks, and every path stays inside."""

import heapq
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from caravan_common.errors import CaravanError, InvalidParametersError
from caravan_common.wire.storage import DirectoryOutcome, FileEntry, FileList
from caravan_storage.volumes import beneath, partial
from caravan_storage.volumes.beneath import Ownership
from caravan_storage.volumes.paths import UPLOADS, Parts, displayed, parse_file
from caravan_storage.volumes.refusals import FileMissingError, explained
from caravan_storage.volumes.walk import Visit, walk


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file, open for reading. Whoever opened it closes it."""

    descriptor: int
    name: str
    size: int
    modified_ns: int
    identity: int
    """The inode: another file under the same name has another one."""

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Folder:
    """A virtual folder whose directory is open as ``descriptor``."""

    descriptor: int
    owner: Ownership

    def make_directory(self, text: str, *, parents: bool, exist_ok: bool) -> DirectoryOutcome:
        """Make one directory; what is wrong with it is in the outcome."""
        try:
            self._make_directory(parse_file(text), parents=parents, exist_ok=exist_ok)
        except CaravanError as err:
            return DirectoryOutcome(path=text, error=str(err))
        return DirectoryOutcome(path=text)

    def _make_directory(self, parts: Parts, *, parents: bool, exist_ok: bool) -> None:
        above = (
            beneath.directory_made(self.descriptor, parts[:-1], self.owner)
            if parents
            else beneath.directory(self.descriptor, parts[:-1])
        )
        with explained(*parts), above as parent:
            may_exist = exist_ok and _is_directory_or_missing(parent, parts[-1])
            beneath.make_directory(parent, parts[-1], self.owner, exist_ok=may_exist)

    def list_files(self, parts: Parts, limit: int) -> FileList:
        """Return the first ``limit`` entries of a directory by name. Uploads in progress are not among them."""
        with (
            explained(*parts),
            beneath.directory(self.descriptor, parts) as opened,
            os.scandir(opened) as found,
        ):
            names = heapq.nsmallest(limit + 1, (e.name for e in found if parts or e.name != UPLOADS))
            entries = [entry for name in names[:limit] for entry in _described(opened, name)]
        return FileList(entries=entries, truncated=len(names) > limit)

    def is_directory(self, parts: Parts) -> bool:
        """Say whether the path is a directory. Raises FileMissingError when nothing is there."""
        if not parts:
            return True
        with explained(*parts), beneath.directory(self.descriptor, parts[:-1]) as parent:
            return stat.S_ISDIR(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode)

    def open_file(self, parts: Parts) -> OpenFile:
        """Open a regular file for reading."""
        with explained(*parts), beneath.directory(self.descriptor, parts[:-1]) as parent:
            descriptor = beneath.open_regular(parent, parts[-1])
        status = os.fstat(descriptor)
        return OpenFile(descriptor, parts[-1], status.st_size, status.st_mtime_ns, status.st_ino)

    @contextmanager
    def walking(self, parts: Parts) -> Generator[Generator[Visit, None, None], None, None]:
        """Visit everything below a directory."""
        with explained(*parts), beneath.directory(self.descriptor, parts) as opened:
            visits = walk(opened, whole_folder=not parts)
            try:
                yield visits
            finally:
                visits.close()

    def begin_upload(self, target: Parts, size: int) -> str:
        """Start an upload of ``size`` bytes to ``target`` and return its session; an empty file is there at once."""
        self.check_target(target)
        session = partial.begin(self.descriptor)
        if size == 0:
            empty = self.open_upload(session)
            try:
                empty.finish(target)
            finally:
                empty.close()
        return session

    def check_target(self, target: Parts) -> None:
        """Refuse to upload over a directory, or through anything that is no directory."""
        try:
            taken = self.is_directory(target)
        except FileMissingError:
            return
        if taken:
            raise InvalidParametersError(f"{'/'.join(target)} is a directory")

    def open_upload(self, session: str) -> partial.PartialFile:
        """Open an upload for writing, for this caller alone."""
        with explained(UPLOADS):
            return partial.PartialFile.open(self.descriptor, session, self.owner)

    def upload_state(self, session: str, size: int) -> partial.UploadState:
        """Return how far an upload of ``size`` bytes is. Raises UploadMissingError."""
        with explained(UPLOADS):
            return partial.state(self.descriptor, session, size)


def _is_directory_or_missing(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True


def _described(parent: int, name: str) -> Iterator[FileEntry]:
    """Describe one entry; nothing when it vanished meanwhile."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    yield FileEntry(
        name=displayed(name),
        type=_kind(status.st_mode),
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        created=datetime.fromtimestamp(status.st_ctime, UTC),
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def _kind(mode: int) -> Literal["FILE", "DIRECTORY", "SYMLINK"]:
    if stat.S_ISDIR(mode):
        return "DIRECTORY"
    return "SYMLINK" if stat.S_ISLNK(mode) else "FILE"
