"""Virtual folders as values: who may do what with one, how it is named, where it is in its life. No I/O, no clock."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from caravan_common.errors import CaravanError, ForbiddenError, InvalidParametersError, NotFoundError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_common.wire.storage import FolderRef
from caravan_manager.people.model import Principal

ALLOWED_TYPES = ("group", "user")
"""Whom a folder may belong to, as the protocol lists it."""
USABLE = frozenset({FolderStatus.READY, FolderStatus.PERFORMING, FolderStatus.CLONING, FolderStatus.MOUNTED})
"""A folder in one of these can be read and written."""
DELETED = frozenset(
    {
        FolderStatus.DELETE_PENDING,
        FolderStatus.DELETE_ONGOING,
        FolderStatus.DELETE_COMPLETE,
        FolderStatus.DELETE_ERROR,
    }
)
"""A folder in one of these has given its name up; DELETE_PENDING is the trash."""
GONE = frozenset({FolderStatus.DELETE_ONGOING, FolderStatus.DELETE_COMPLETE, FolderStatus.DELETE_ERROR})
"""A folder in one of these counts no more against its owner's limit."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"(?P<proxy>[A-Za-z0-9_-]+):(?P<volume>[A-Za-z0-9._-]+)")
_UUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class VFolderNotFoundError(NotFoundError):
    """No folder that the caller may see has this name or ID."""

    object_name = "virtual folder"
    code = "vfolder_read_not-found"


class TooManyVFoldersError(NotFoundError):
    """The name means several folders; the data lists their hosts."""

    slug = "too-many-vfolders"
    code = "vfolder_read_ambiguous"

    def problem(self) -> dict[str, object]:
        return super().problem() | {"title": "There are two or more matching vfolders."}


class VFolderAlreadyExistsError(CaravanError):
    """A live folder that the caller can see has the name."""

    status = 400
    slug = "vfolder-already-exists"
    title = "The virtual folder already exists with the same name."
    code = "vfolder_create_already-exists"


class WrongVFolderStatusError(CaravanError):
    """The folder is not in a status in which this can be done."""

    status = 400
    slug = "vfolder-filter-status-failed"
    title = "Virtual folder status filtering has failed."
    code = "vfolder_access_not-ready"


class VFolderInUseError(CaravanError):
    """Live sessions have the folder mounted."""

    status = 400
    slug = "vfolder-operation-failed"
    title = "Virtual folder operation has failed."
    code = "vfolder_delete_in-use"


class UsageMode(StrEnum):
    """What a folder is for."""

    GENERAL = "general"
    MODEL = "model"
    DATA = "data"


class HostRight(StrEnum):
    """What a policy lets its holders do on one storage host."""

    CREATE = "create-vfolder"
    MODIFY = "modify-vfolder"
    DELETE = "delete-vfolder"
    MOUNT = "mount-in-session"
    UPLOAD = "upload-file"
    DOWNLOAD = "download-file"


_RANK = {FolderPermission.READ_ONLY: 0, FolderPermission.READ_WRITE: 1, FolderPermission.OWNER: 2}


def includes(granted: FolderPermission, wanted: FolderPermission) -> bool:
    """Say whether one permission includes another: ``wd`` includes ``rw`` includes ``ro``."""
    return _RANK[wanted] <= _RANK[granted]


@dataclass(frozen=True, slots=True)
class Host:
    """A volume of a storage proxy; users write ``proxy:volume``."""

    proxy: str
    volume: str

    @classmethod
    def parse(cls, text: str) -> "Host":
        """Read ``proxy:volume``. Raises InvalidParametersError."""
        matched = _HOST.fullmatch(text)
        if matched is None:
            raise InvalidParametersError("a storage host is written proxy:volume, for example local:volume1")
        return cls(proxy=matched["proxy"], volume=matched["volume"])

    def __str__(self) -> str:
        return f"{self.proxy}:{self.volume}"


@dataclass(frozen=True, slots=True)
class MountRequest:
    """A folder that somebody wants in a session: by name or ID, and where.

    ``subpath`` is below the folder. ``target`` is absolute, or below ``/home/work`` (None: its name), and
    ``permission`` one of ``ro``, ``rw`` and ``wd`` (None: what the folder allows).
    """

    name: str
    subpath: str = "."
    target: str | None = None
    permission: str | None = None


@dataclass(frozen=True, slots=True)
class NewFolder:
    """What somebody asks for who makes a folder. ``project`` is a name or ID, None for a folder of one's own."""

    name: str
    host: Host | None
    project: str | None
    usage_mode: UsageMode
    permission: FolderPermission
    cloneable: bool

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, slots=True)
class VFolder:
    """A virtual folder with the names of its owner. Each move returns the new value, or raises."""

    id: UUID
    host: Host
    quota_scope_id: str
    name: str
    domain_name: str
    user_id: UUID | None
    project_id: UUID | None
    creator: str
    usage_mode: UsageMode
    permission: FolderPermission
    cloneable: bool
    status: FolderStatus
    max_files: int
    max_size: int | None
    created_at: datetime
    last_used: datetime | None
    status_changed: datetime
    user_email: str | None = None
    project_name: str | None = None

    @property
    def ownership_type(self) -> str:
        """``user`` or ``group``."""
        return "group" if self.project_id is not None else "user"

    @property
    def ref(self) -> FolderRef:
        """What the storage proxy calls the folder."""
        return FolderRef(volume=self.host.volume, quota_scope=self.quota_scope_id, folder=self.id)

    def is_owned_by(self, principal: Principal) -> bool:
        """Whether the caller owns the folder; a project's folders are owned by those who administrate it."""
        if self.project_id is None:
            return self.user_id == principal.user_id
        return self.is_administrated_by(principal)

    def is_administrated_by(self, principal: Principal) -> bool:
        """Whether the caller may look after the folder as an administrator."""
        return principal.is_superadmin or (principal.is_admin and self.domain_name == principal.domain_name)

    def must_be_owned_by(self, principal: Principal) -> None:
        """Raise ForbiddenError unless the caller owns or administrates the folder."""
        if not self.is_owned_by(principal) and not self.is_administrated_by(principal):
            raise ForbiddenError(f"folder {self.name} belongs to somebody else")

    def must_be_usable(self) -> None:
        """Raise WrongVFolderStatusError unless files can be read and written."""
        if self.status not in USABLE:
            raise WrongVFolderStatusError(f"folder {self.name} is {self.status}", id=self.id.hex)

    def must_allow(self, wanted: FolderPermission) -> None:
        """Raise ForbiddenError when the folder's permission is less."""
        if not includes(self.permission, wanted):
            raise ForbiddenError(f"folder {self.name} may be used as {self.permission}, not as {wanted}")

    def renamed(self, name: str) -> "VFolder":
        """Return the folder under another name."""
        self.must_be_usable()
        return replace(self, name=check_name(name))

    def trashed(self, now: datetime) -> "VFolder":
        """Return the folder in the trash."""
        self._must_be({FolderStatus.READY, FolderStatus.MOUNTED, FolderStatus.ERROR})
        return self._in(FolderStatus.DELETE_PENDING, now)

    def restored(self, now: datetime) -> "VFolder":
        """Return the folder, taken out of the trash."""
        self._must_be({FolderStatus.DELETE_PENDING})
        return self._in(FolderStatus.READY, now)

    def being_deleted(self, now: datetime) -> "VFolder":
        """Return the folder with its deletion begun; again, when an earlier one was cut short or failed."""
        self._must_be({FolderStatus.DELETE_PENDING, FolderStatus.DELETE_ONGOING, FolderStatus.DELETE_ERROR})
        return self._in(FolderStatus.DELETE_ONGOING, now)

    def deleted(self, now: datetime) -> "VFolder":
        """Return what is left when the files are gone."""
        return self._in(FolderStatus.DELETE_COMPLETE, now)

    def not_deleted(self, now: datetime) -> "VFolder":
        """Return the folder after a deletion that failed."""
        return self._in(FolderStatus.DELETE_ERROR, now)

    def must_be_purgeable(self) -> None:
        """Raise WrongVFolderStatusError unless the files are gone."""
        self._must_be({FolderStatus.DELETE_COMPLETE})

    def _must_be(self, allowed: set[FolderStatus]) -> None:
        if self.status not in allowed:
            raise WrongVFolderStatusError(f"folder {self.name} is {self.status}", id=self.id.hex)

    def _in(self, status: FolderStatus, now: datetime) -> "VFolder":
        return replace(self, status=status, status_changed=now)


def check_name(name: str) -> str:
    """Return the name if a folder may have it: it becomes a mount point, and must not look like an ID.

    Backend.AI also takes names that begin with a dot, for folders that are mounted of themselves; those come later.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParametersError(
            "a folder's name has 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit"
        )
    if folder_id(name) is not None:
        raise InvalidParametersError("a folder's name must not look like an ID")
    return name


def folder_id(text: str) -> UUID | None:
    """Return the ID that a text is (32 hexadecimal digits, or with dashes), or None when it is a name."""
    return UUID(text) if _UUID.fullmatch(text) else None


def choose(found: Sequence[VFolder], name: str) -> VFolder:
    """Return the folder that a name means: the live one, else the one that came into the trash last.

    Raises TooManyVFoldersError when several live folders have the name, VFolderNotFoundError when none has.
    """
    live = [folder for folder in found if folder.status not in DELETED]
    if len(live) > 1:
        raise TooManyVFoldersError(
            "Multiple folders with the same name; use the ID.", data=[str(folder.host) for folder in live]
        )
    if live:
        return live[0]
    trashed = [folder for folder in found if folder.status is not FolderStatus.DELETE_COMPLETE]
    if not trashed:
        raise VFolderNotFoundError(data=name)
    return max(trashed, key=lambda folder: folder.status_changed)


HostRights = Mapping[str, frozenset[str]]
"""For each storage host what may be done there, as policies spell it."""


def merge_rights(policies: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, frozenset[str]]:
    """Return what several policies allow together."""
    merged: dict[str, frozenset[str]] = {}
    for policy in policies:
        for host, rights in policy.items():
            merged[host] = merged.get(host, frozenset()) | frozenset(rights)
    return merged


def must_have_right(rights: HostRights, host: Host, right: HostRight) -> None:
    """Raise InvalidParametersError, as Backend.AI does, when no policy allows this on the host."""
    if right not in rights.get(str(host), frozenset()):
        raise InvalidParametersError(f"`{right}` Not allowed in vfolder host(`{host}`)")
