"""Where virtual folders go in a session. Pure: what users wrote becomes mount points here, and only here."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from caravan_common.errors import InvalidParametersError
from caravan_common.mount_points import HOME, LONGEST, check_mount_point
from caravan_common.states import FolderPermission
from caravan_manager.sessions.model import SessionMount
from caravan_manager.vfolders.model import USABLE, MountRequest, VFolder, VFolderNotFoundError

MAX_MOUNTS = 50

_RESERVED = re.compile(r"\.terminfo|\.jupyter|\.tmux\.conf|\.ssh|\.[a-z0-9]+rc|\.[a-z0-9]+_profile", re.IGNORECASE)


def mount(folder: VFolder, request: MountRequest) -> SessionMount:
    """Return the folder as a session will have it.

    Raises VFolderNotFoundError for a folder that is being deleted, InvalidParametersError for a bad path,
    ForbiddenError when more is wanted than the folder allows.
    """
    if folder.status not in USABLE:
        raise VFolderNotFoundError(f"folder {folder.name} is {folder.status}", data=request.name)
    permission = folder.permission if request.permission is None else _permission(request.permission)
    folder.must_allow(permission)
    return SessionMount(
        name=folder.name,
        folder=folder.id,
        host=str(folder.host),
        quota_scope=folder.quota_scope_id,
        subpath=subpath(request.subpath),
        target=target(request.target or folder.name),
        permission=permission.value,
    )


def target(text: str) -> PurePosixPath:
    """Return the mount point that a user wrote; a relative one is below ``/home/work``.

    Raises InvalidParametersError for one that is not normalized, or reserved for the system or for Caravan.
    """
    path = PurePosixPath(text) if text.startswith("/") else HOME / text
    if str(path) != (text if text.startswith("/") else f"{HOME}/{text}"):
        raise InvalidParametersError(f"{text[:LONGEST]!r} cannot be a mount point: write it without '//' and '.'")
    check_mount_point(path)
    if path.is_relative_to(HOME):
        first = path.relative_to(HOME).parts[0]
        if _RESERVED.fullmatch(first):
            raise InvalidParametersError(f"{first} is reserved for internal operations.")
    return path


def subpath(text: str) -> PurePosixPath:
    """Return the part of a folder that is to be mounted, relative to it. Raises InvalidParametersError."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or len(text) > 1024 or not text.isprintable():
        raise InvalidParametersError("the part of a folder to be mounted must be a relative path without '..'")
    return path


def check_together(mounts: Sequence[SessionMount]) -> tuple[SessionMount, ...]:
    """Return the mounts if they can be in one session. Raises InvalidParametersError."""
    targets = sorted((mount.target for mount in mounts), key=lambda path: path.parts)
    for one, other in pairwise(targets):
        if other == one or one in other.parents:
            raise InvalidParametersError(f"two folders want to be mounted at {one}, or one inside the other")
    return tuple(mounts)


def check_count(wanted: Sequence[MountRequest]) -> None:
    """Raise InvalidParametersError for more mounts than a session can have."""
    if len(wanted) > MAX_MOUNTS:
        raise InvalidParametersError(f"a session has at most {MAX_MOUNTS} folders")


def _permission(text: str) -> FolderPermission:
    try:
        return FolderPermission(text)
    except ValueError as err:
        raise InvalidParametersError(f"{text[:16]!r} is no permission; write ro, rw or wd") from err
