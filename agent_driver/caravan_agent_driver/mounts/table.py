"""What is mounted on this machine, and taking mounts and trees away without touching what was mounted."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from caravan_agent_driver.mounts import syscalls

_DEPTH = 100
_OCTAL = re.compile(r"\\([0-7]{3})")
_WITHIN = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV


class StillMountedError(OSError):
    """A tree has a mount in it and must not be removed."""


def parse_mount_points(mountinfo: str) -> list[Path]:
    """Return the mount points in the text of /proc/self/mountinfo, in the order in which they were mounted."""
    fields = (line.split(" ") for line in mountinfo.splitlines())
    return [Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), f[4])) for f in fields if len(f) > 4]


def mounts_below(root: Path) -> list[Path]:
    """Return the mount points at or below ``root``, in the order of mounting; one path may occur twice."""
    text = Path("/proc/self/mountinfo").read_bytes().decode("latin-1")
    points = [Path(os.fsdecode(str(point).encode("latin-1"))) for point in parse_mount_points(text)]
    resolved = root.resolve()
    return [point for point in points if point == resolved or resolved in point.parents]


def unmount_below(root: Path) -> int:
    """Take every mount at or below ``root`` away, the last one first, lazily if it is busy; gives how many."""
    points = list(reversed(mounts_below(root)))
    for point in points:
        try:
            syscalls.unmount(point)
        except OSError as err:
            if err.errno != errno.EBUSY:
                raise
            syscalls.unmount(point, lazily=True)
    return len(points)


def remove_tree(root: Path) -> None:
    """Remove ``root`` and what is below it; never enters a mount or follows a link. Missing is fine.

    Raises StillMountedError when something is mounted there: a folder's files are never removed through its mount.
    """
    left = mounts_below(root)
    if left:
        raise StillMountedError(errno.EBUSY, "something is still mounted", str(left[0]))
    try:
        parent = os.open(root.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_root(parent, root.name)
    finally:
        os.close(parent)


def _remove_root(parent: int, name: str) -> None:
    root = _opened_or_unlinked(parent, name)
    if root is None:
        return
    try:
        pending = os.listdir(root)  # noqa: PTH208 - an open directory has no path
        while pending:
            _remove(root, pending.pop(), _Rest(root, pending))
    finally:
        os.close(root)
    os.rmdir(name, dir_fd=parent)


@dataclass(frozen=True, slots=True)
class _Rest:
    """Where what lies too deep is moved to, so that no tree is too deep to remove."""

    root: int
    pending: list[str]

    def lift(self, directory: int, entry: str) -> None:
        name = uuid4().hex
        os.rename(entry, name, src_dir_fd=directory, dst_dir_fd=self.root)
        self.pending.append(name)


def _remove(parent: int, name: str, rest: _Rest, depth: int = 1) -> None:
    directory = _opened_or_unlinked(parent, name)
    if directory is None:
        return
    try:
        for entry in os.listdir(directory):  # noqa: PTH208
            if depth < _DEPTH:
                _remove(directory, entry, rest, depth + 1)
            else:
                rest.lift(directory, entry)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _opened_or_unlinked(parent: int, name: str) -> int | None:
    """Open a directory, or unlink what is none. The kernel refuses to open a mount (EXDEV) or unlink one (EBUSY)."""
    try:
        return syscalls.openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, _WITHIN)
    except FileNotFoundError:
        return None
    except OSError as err:
        if err.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    os.unlink(name, dir_fd=parent)
    return None
