"""Walking to directories without ever leaving the place one started from: no symbolic link, no `..`, no race."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from caravan_agent_driver.mounts import syscalls
from caravan_agent_driver.outages import may_pass
from caravan_common.errors import CaravanError, InvalidParametersError, UnavailableError

_STRICT = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


@contextmanager
def opened_root(path: Path) -> Generator[int]:
    """Open a directory that an operator named (symbolic links in it are the operator's own)."""
    descriptor = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_below(root: int, path: PurePosixPath) -> Generator[int]:
    """Open the existing directory ``path`` below ``root``.

    Raises InvalidParametersError when it is none of that, UnavailableError when the disk cannot say.
    """
    try:
        descriptor = syscalls.openat2(root, str(path), _DIRECTORY, _STRICT)
    except OSError as err:
        raise _refused(path, err) from err
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def made_below(root: int, path: PurePosixPath, owner: tuple[int, int]) -> Generator[int]:
    """Open the directory ``path`` below ``root``; what is missing of it is made and given to ``owner`` (uid, gid)."""
    descriptor = _walk(root, path, owner)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(root: int, path: PurePosixPath, owner: tuple[int, int]) -> int:
    current = os.dup(root)
    for part in path.parts:
        try:
            following = _step(current, part, owner)
        except OSError as err:
            raise _refused(path, err) from err
        finally:
            os.close(current)
        current = following
    return current


def _step(directory: int, name: str, owner: tuple[int, int]) -> int:
    try:
        return syscalls.openat2(directory, name, _DIRECTORY, _STRICT)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=directory)
        os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
        return syscalls.openat2(directory, name, _DIRECTORY, _STRICT)


def _refused(path: PurePosixPath, err: OSError) -> CaravanError:
    if may_pass(err):
        return UnavailableError(f"{path}: {os.strerror(err.errno or 0)}")
    if err.errno in (errno.ELOOP, errno.EXDEV):
        return InvalidParametersError(f"{path} leads out of its folder or through a symbolic link")
    return InvalidParametersError(f"{path}: {os.strerror(err.errno or 0)}")
