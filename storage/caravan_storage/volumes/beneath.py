"""Open paths so that they cannot leave their directory, whoever renames or links what at the same moment.

Each component is opened relative to the descriptor of the one before, and never through a symbolic link. So there is
no moment between a check and a use: what was opened is what is used.
"""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from caravan_common.errors import InvalidParametersError
from caravan_storage.volumes.paths import Parts

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whom new files and directories belong to. Only root can give files away; others keep them."""

    uid: int
    gid: int

    def give(self, descriptor: int) -> None:
        """Make an open file or directory theirs."""
        if os.geteuid() == 0:
            os.fchown(descriptor, self.uid, self.gid)


@contextmanager
def directory(base: int, parts: Parts) -> Generator[int, None, None]:
    """Open the directory at ``parts`` below the directory descriptor ``base``. Raises OSError."""
    current = os.dup(base)
    try:
        for part in parts:
            inner = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


@contextmanager
def directory_made(base: int, parts: Parts, owner: Ownership | None = None) -> Generator[int, None, None]:
    """Like :func:`directory`, and make the directories that are missing."""
    current = os.dup(base)
    try:
        for part in parts:
            inner = _enter_or_make(current, part, owner)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def _enter_or_make(parent: int, name: str, owner: Ownership | None) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        make_directory(parent, name, owner, exist_ok=True)
        return os.open(name, _DIRECTORY, dir_fd=parent)


def make_directory(parent: int, name: str, owner: Ownership | None, *, exist_ok: bool = False) -> None:
    """Make one directory in ``parent``. Raises OSError."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if exist_ok:
            return
        raise
    if owner is not None:
        made = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            owner.give(made)
        finally:
            os.close(made)


def open_regular(parent: int, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a file, and nothing else: no device, FIFO or directory is ever opened. Raises OSError."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode):
            raise InvalidParametersError(f"{name} is a symbolic link, and those are not followed")
        if stat.S_ISDIR(mode):
            raise InvalidParametersError(f"{name} is a directory; ask for it as an archive")
        if not stat.S_ISREG(mode):
            raise InvalidParametersError(f"{name} is no regular file")
        return os.open(f"/proc/self/fd/{handle}", flags | os.O_CLOEXEC)
    finally:
        os.close(handle)
