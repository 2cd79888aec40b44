"""What the manager says to a storage proxy (HTTP, `Authorization: Bearer`), and the tokens that clients carry.

| call | body → answer |
|-|-|
| GET /volumes | → VolumeList |
| POST /folders | FolderRef → 204; exists already: 204 |
| POST /folders/delete | FolderRef → 204; does not exist: 204 |
| POST /folders/usage | FolderRef → FolderUsage |
| POST /folders/mkdir | MakeDirectories → MakeDirectoriesResult |
| POST /folders/files | ListFiles → FileList |
| POST /folders/upload | RequestUpload → TransferTicket |
| POST /folders/download | RequestDownload → TransferTicket |

Clients use the client-facing API with the ticket's token: see `caravan_storage/api/client`.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class FolderRef(BaseModel):
    """One virtual folder: ``volume`` without the proxy's name, ``quota_scope`` as ``user:<uuid>``."""

    model_config = ConfigDict(frozen=True)

    volume: str
    quota_scope: str = Field(pattern=r"^(user|project):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    folder: UUID


class Volume(BaseModel):
    """A volume as the proxy sees it; ``usage_percent`` is of the file system below it."""

    name: str
    backend: str
    capabilities: list[str]
    usage_percent: float


class VolumeList(BaseModel):
    """All volumes of a proxy."""

    volumes: list[Volume]


class FolderUsage(BaseModel):
    """Files and bytes in a folder."""

    files: int
    bytes: int


class MakeDirectories(FolderRef):
    """Make directories, each path relative to the folder."""

    paths: list[str] = Field(max_length=50)
    parents: bool = False
    exist_ok: bool = False


class DirectoryOutcome(BaseModel):
    """What became of one path; ``error`` is None when it was made."""

    path: str
    error: str | None = None


class MakeDirectoriesResult(BaseModel):
    """One outcome for each path, in the order of the request."""

    outcomes: list[DirectoryOutcome]


class ListFiles(FolderRef):
    """List one directory of a folder."""

    path: str = "."


class FileEntry(BaseModel):
    """One entry of a directory; ``mode`` holds the permission bits."""

    name: str
    type: Literal["FILE", "DIRECTORY", "SYMLINK"]
    size: int
    mode: int
    created: datetime
    modified: datetime


class FileList(BaseModel):
    """The entries of a directory, by name; ``truncated`` when there were more than the proxy lists."""

    entries: list[FileEntry]
    truncated: bool = False


class RequestUpload(FolderRef):
    """Ask for the right to upload one file of exactly ``size`` bytes."""

    path: str
    size: int = Field(ge=0)


class RequestDownload(FolderRef):
    """Ask for the right to download one file, or with ``archive`` a directory as ZIP."""

    path: str
    archive: bool = False


class TransferTicket(BaseModel):
    """Where the client goes, and the signed token that it shows there."""

    token: str = Field(repr=False)
    url: str
