"""What users are told when the file system says no."""

import errno
from collections.abc import Generator
from contextlib import contextmanager

from caravan_common.errors import (
    CaravanError,
    ConflictError,
    ForbiddenError,
    InvalidParametersError,
    NotFoundError,
    UnavailableError,
)


class FileMissingError(NotFoundError):
    """Nothing has this path."""

    object_name = "file or directory"


class FolderMissingError(NotFoundError):
    """The volume has no such folder."""

    object_name = "virtual folder"


class VolumeMissingError(NotFoundError):
    """The proxy has no such volume."""

    object_name = "volume"


class NoSpaceError(CaravanError):
    """The volume or the folder's quota is full."""

    status = 507
    slug = "insufficient-storage"
    title = "Insufficient storage."
    code = "storage_write_insufficient-storage"


_SENTENCES: dict[int, tuple[type[CaravanError], str]] = {
    errno.ENOENT: (FileMissingError, "there is nothing at {path}"),
    errno.ENOTDIR: (InvalidParametersError, "{path} leads through a symbolic link, or through a file"),
    errno.ELOOP: (InvalidParametersError, "{path} leads through a symbolic link, and those are not followed"),
    errno.EISDIR: (InvalidParametersError, "{path} is a directory"),
    errno.EEXIST: (ConflictError, "{path} exists already"),
    errno.ENOTEMPTY: (ConflictError, "{path} is a directory and not empty"),
    errno.ENAMETOOLONG: (InvalidParametersError, "{path} is too long for this volume"),
    errno.EINVAL: (InvalidParametersError, "this volume cannot have a file called {path}"),
    errno.EILSEQ: (InvalidParametersError, "this volume cannot have a file called {path}"),
    errno.EACCES: (ForbiddenError, "the storage proxy may not open {path}"),
    errno.EPERM: (ForbiddenError, "the storage proxy may not change {path}"),
    errno.EROFS: (ForbiddenError, "the volume is read-only"),
    errno.ENOSPC: (NoSpaceError, "the volume is full"),
    errno.EDQUOT: (NoSpaceError, "the quota of the folder is used up"),
    errno.EFBIG: (NoSpaceError, "the file would be larger than the volume allows"),
}


@contextmanager
def explained(*parts: str) -> Generator[None, None, None]:
    """Turn an OSError of the block into Caravan's own error about the path ``parts``."""
    try:
        yield
    except OSError as err:
        path = "/".join(parts) or "the folder"
        kind, sentence = _SENTENCES.get(err.errno or 0, (UnavailableError, "the volume does not answer for {path}"))
        raise kind(sentence.format(path=path)) from err
