"""Where in a container a virtual folder may be mounted: the manager's answer, and the agent's, which trusts nobody."""

import re
from pathlib import PurePosixPath

from caravan_common.errors import InvalidParametersError

HOME = PurePosixPath("/home/work")
LONGEST = 255

_PART = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXACTLY = frozenset(map(PurePosixPath, ("/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/usr", "/var", str(HOME))))  # noqa: S108
"""Backend.AI's list: these themselves are refused, folders below them are not."""
_WITH_ALL_BELOW = tuple(
    PurePosixPath(f"/{name}")
    for name in (
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys"),
        *("home/config", "opt/kernel", "opt/backend.ai", "opt/container", "var/run"),
    )
)
"""What programs, devices and Caravan itself are found by."""


def check_mount_point(path: PurePosixPath) -> None:
    """Raise InvalidParametersError unless a virtual folder can be mounted at ``path``, absolute and normalized."""
    parts = path.parts[1:]
    if path.root != "/" or not parts or len(str(path)) > LONGEST:
        raise InvalidParametersError(f"{str(path)[:LONGEST]!r} cannot be a mount point")
    if any(not _PART.fullmatch(part) or part in {".", ".."} for part in parts):
        raise InvalidParametersError(
            f"{str(path)!r} cannot be a mount point: between single slashes write names of letters, digits, '.', '_' "
            "and '-'"
        )
    if path in _EXACTLY or any(path == taken or taken in path.parents for taken in _WITH_ALL_BELOW):
        raise InvalidParametersError(f"{path} is reserved for internal path.")
