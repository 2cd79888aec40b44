"""The system calls for mounts and safe paths that Python's `os` lacks, by ctypes. Linux 5.12 or newer.

The numbers of these calls are the same on every architecture (they came after the tables were unified).
"""

import ctypes
import os
from pathlib import Path

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 0x1, 0x2, 0x4
_MS_PRIVATE = 1 << 18
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def openat2(directory: int, path: str | bytes, flags: int, resolve: int) -> int:
    """Open ``path`` below the open directory as ``resolve`` (RESOLVE_*) allows; gives a descriptor."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path)
    result = _libc.syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(name),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return _checked(result, os.fsdecode(name))


def _clone(source: int) -> int:
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    result = _libc.syscall(ctypes.c_long(_OPEN_TREE), ctypes.c_int(source), ctypes.c_char_p(b""), ctypes.c_uint(flags))
    return _checked(result, "open_tree")


def _restrict(tree: int, *, read_only: bool) -> None:
    attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if read_only else 0)
    wanted = _MountAttributes(attributes, 0, _MS_PRIVATE, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )
    _checked(result, "mount_setattr")


def detached(source: int, *, read_only: bool) -> int:
    """Return a mount of the directory open as ``source`` that is nowhere yet: nodev, nosuid, private; a descriptor.

    So it is restricted before anyone can see it. Flags that the source's mount has stay.
    """
    tree = _clone(source)
    try:
        _restrict(tree, read_only=read_only)
    except OSError:
        os.close(tree)
        raise
    return tree


def attach(tree: int, target: int) -> None:
    """Show a detached mount at the directory open as ``target``, which is in the mount namespace of this thread."""
    result = _libc.syscall(
        ctypes.c_long(_MOVE_MOUNT),
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(target),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH),
    )
    _checked(result, "move_mount")


def enter_mount_namespace(namespace: int) -> None:
    """Let this thread see the mounts of another namespace (a descriptor), for good: root and working folder as well."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_FS)), "unshare")
    _checked(_libc.setns(ctypes.c_int(namespace), ctypes.c_int(_CLONE_NEWNS)), "setns")


def unmount(path: Path, *, lazily: bool = False) -> None:
    """Take the topmost mount at ``path`` away; never follows a symbolic link."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazily else 0)
    result = _libc.umount2(ctypes.c_char_p(os.fsencode(path)), ctypes.c_int(flags))
    _checked(result, str(path))
