"""Files that are still arriving: they lie in the folder's upload directory, and move to their place when complete."""

import fcntl
import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from caravan_common.errors import CaravanError, ConflictError, NotFoundError
from caravan_storage.volumes.beneath import Ownership, directory, directory_made, open_regular
from caravan_storage.volumes.paths import UPLOADS, Parts
from caravan_storage.volumes.refusals import explained

_SESSION = re.compile(r"^[0-9a-f]{32}$")
_DONE = ".done"


class UploadMissingError(NotFoundError):
    """No such upload: it never began, or was swept because nothing arrived for a day."""

    object_name = "upload"


class UploadBusyError(CaravanError):
    """Another request is writing to the upload."""

    status = 423
    slug = "upload-busy"
    title = "Another request is writing to this upload."
    code = "storage_upload_conflict"


def begin(folder: int) -> str:
    """Make an empty partial file and return the name of its session."""
    session = secrets.token_hex(16)
    with explained(UPLOADS), _uploads_made(folder) as uploads:
        os.close(os.open(session, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=uploads))
    return session


@contextmanager
def _uploads_made(folder: int) -> Generator[int, None, None]:
    with suppress(FileExistsError):
        os.mkdir(UPLOADS, 0o700, dir_fd=folder)
    with directory(folder, (UPLOADS,)) as uploads:
        yield uploads


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is: ``offset`` bytes have arrived; ``done`` when the file is in its place."""

    offset: int
    done: bool


def state(folder: int, session: str, size: int) -> UploadState:
    """Return how far an upload of ``size`` bytes is. Raises UploadMissingError."""
    _check(session)
    try:
        with directory(folder, (UPLOADS,)) as uploads:
            arrived = _size(uploads, session)
            if arrived is None and _size(uploads, session + _DONE) is not None:
                return UploadState(size, done=True)
    except FileNotFoundError:
        arrived = None
    if arrived is None:
        raise UploadMissingError("the upload is unknown or was given up; ask for a new one")
    return UploadState(arrived, done=False)


def _size(parent: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def _check(session: str) -> None:
    if not _SESSION.match(session):
        raise UploadMissingError("the upload is unknown")


class PartialFile:
    """An upload that this request alone may write to. Every method blocks; close it in the end."""

    def __init__(self, folder: int, uploads: int, descriptor: int, session: str, owner: Ownership) -> None:
        self._folder = folder
        self._uploads = uploads
        self._descriptor = descriptor
        self._session = session
        self._owner = owner

    @classmethod
    def open(cls, folder: int, session: str, owner: Ownership) -> Self:
        """Open and lock the upload. Raises UploadMissingError and UploadBusyError."""
        _check(session)
        try:
            with directory(folder, (UPLOADS,)) as uploads:
                descriptor = _locked(uploads, session)
                return cls(os.dup(folder), os.dup(uploads), descriptor, session, owner)
        except FileNotFoundError as err:
            raise UploadMissingError("the upload is complete or was given up") from err

    def size(self) -> int:
        """Return how many bytes have arrived."""
        return os.fstat(self._descriptor).st_size

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write after the last byte. Raises NoSpaceError; what fitted before is kept."""
        view = memoryview(data)
        with explained(self._session):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def truncate(self, offset: int) -> None:
        """Forget what came after ``offset``."""
        with explained(self._session):
            os.ftruncate(self._descriptor, offset)

    def finish(self, target: Parts) -> None:
        """Put the complete file at ``target``, over a file that is there, durably and at once."""
        with explained(*target):
            self._owner.give(self._descriptor)
            os.fchmod(self._descriptor, 0o644)
            os.fsync(self._descriptor)
            with directory_made(self._folder, target[:-1], self._owner) as parent:
                self._note_done()
                os.rename(self._session, target[-1], src_dir_fd=self._uploads, dst_dir_fd=parent)
                os.fsync(parent)

    def _note_done(self) -> None:
        """Leave a mark, so that a client that missed the last answer learns that all is well."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self._session + _DONE, flags, 0o600, dir_fd=self._uploads))

    def close(self) -> None:
        """Let other requests write to the upload."""
        for descriptor in (self._descriptor, self._uploads, self._folder):
            os.close(descriptor)


def _locked(uploads: int, session: str) -> int:
    descriptor = open_regular(uploads, session, os.O_WRONLY | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_unmoved(uploads, session, descriptor)
    except BlockingIOError as err:
        os.close(descriptor)
        raise UploadBusyError("another request is sending data to this upload") from err
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_unmoved(uploads: int, session: str, descriptor: int) -> None:
    """Refuse a file that another request finished between the opening and the locking."""
    if not os.path.samestat(os.stat(session, dir_fd=uploads, follow_symlinks=False), os.fstat(descriptor)):
        raise ConflictError("the upload was replaced; ask for a new one")


def sweep(folder: int, before: float) -> int:
    """Remove what uploads left that nothing was written to since ``before`` (epoch seconds); return how much."""
    removed = 0
    with suppress(FileNotFoundError, NotADirectoryError), directory(folder, (UPLOADS,)) as uploads:
        with os.scandir(uploads) as entries:
            stale = [e.name for e in entries if e.stat(follow_symlinks=False).st_mtime < before]
        for name in stale:
            with suppress(OSError):
                os.unlink(name, dir_fd=uploads)
                removed += 1
    return removed
