"""A storage proxy in memory: what the manager's tests use where the real one is not the matter."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal
from uuid import UUID

from caravan_common.errors import InvalidParametersError, UnavailableError
from caravan_common.wire.storage import (
    DirectoryOutcome,
    FileEntry,
    FileList,
    FolderRef,
    FolderUsage,
    ListFiles,
    MakeDirectories,
    MakeDirectoriesResult,
    RequestDownload,
    RequestUpload,
    TransferTicket,
    Volume,
    VolumeList,
)
from caravan_manager.vfolders.proxies import FileNotInFolderError

A_MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeStorageProxy:
    """A storage proxy in memory, with one volume; ``silent`` makes it fail as one that does not answer."""

    def __init__(self) -> None:
        self.folders: dict[tuple[str, str, UUID], dict[str, FileEntry]] = {}
        self.silent = False

    async def volumes(self) -> VolumeList:
        """Return the one volume."""
        self._answer()
        volume = Volume(name="volume1", backend="vfs", capabilities=["vfolder"], usage_percent=12.5)
        return VolumeList(volumes=[volume])

    async def create(self, folder: FolderRef) -> None:
        """Make a folder; one that exists is fine."""
        self._answer()
        self._must_be_known(folder)
        self.folders.setdefault(_key(folder), {})

    async def delete(self, folder: FolderRef) -> None:
        """Delete a folder; one that does not exist is fine."""
        self._answer()
        self._must_be_known(folder)
        self.folders.pop(_key(folder), None)

    async def usage(self, folder: FolderRef) -> FolderUsage:
        """Count files and bytes."""
        files = [entry for entry in self._entries(folder).values() if entry.type == "FILE"]
        return FolderUsage(files=len(files), bytes=sum(entry.size for entry in files))

    async def make_directories(self, request: MakeDirectories) -> MakeDirectoriesResult:
        """Make directories."""
        entries = self._entries(request)
        return MakeDirectoriesResult(outcomes=[_make_directory(entries, request, path) for path in request.paths])

    async def files(self, request: ListFiles) -> FileList:
        """List one directory."""
        entries, path = self._entries(request), _normal(request.path)
        if path != "." and path not in entries:
            raise FileNotInFolderError(f"no directory {path}")
        inside = {name: entry for name, entry in entries.items() if str(PurePosixPath(name).parent) == path}
        return FileList(entries=[inside[name] for name in sorted(inside)])

    async def request_upload(self, request: RequestUpload) -> TransferTicket:
        """Return a ticket; the file is there at once."""
        path = _normal(request.path)
        self._entries(request)[path] = _entry(path, "FILE", request.size)
        return TransferTicket(token=f"upload {path}", url="http://storage.example/upload")

    async def request_download(self, request: RequestDownload) -> TransferTicket:
        """Return a ticket."""
        path = _normal(request.path)
        if path not in self._entries(request):
            raise FileNotInFolderError(f"no file {path}")
        return TransferTicket(token=f"download {path}", url="http://storage.example/download")

    def _answer(self) -> None:
        if self.silent:
            raise UnavailableError("the storage proxy does not answer")

    def _must_be_known(self, folder: FolderRef) -> None:
        if folder.volume != "volume1":
            raise FileNotInFolderError(f"no volume {folder.volume}")

    def _entries(self, folder: FolderRef) -> dict[str, FileEntry]:
        self._answer()
        self._must_be_known(folder)
        if _key(folder) not in self.folders:
            raise FileNotInFolderError(f"no folder {folder.folder}")
        return self.folders[_key(folder)]


def _key(folder: FolderRef) -> tuple[str, str, UUID]:
    return folder.volume, folder.quota_scope, folder.folder


def _normal(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise InvalidParametersError(f"the path {path} leaves the folder")
    return str(PurePosixPath(path))


def _entry(path: str, kind: Literal["FILE", "DIRECTORY"], size: int) -> FileEntry:
    mode = 0o755 if kind == "DIRECTORY" else 0o644
    name = PurePosixPath(path).name
    return FileEntry(name=name, type=kind, size=size, mode=mode, created=A_MOMENT, modified=A_MOMENT)


def _make_directory(entries: dict[str, FileEntry], request: MakeDirectories, raw: str) -> DirectoryOutcome:
    try:
        path = _normal(raw)
    except InvalidParametersError as err:
        return DirectoryOutcome(path=raw, error=str(err))
    if path in entries and not request.exist_ok:
        return DirectoryOutcome(path=raw, error="File exists")
    entries[path] = _entry(path, "DIRECTORY", 4096)
    return DirectoryOutcome(path=raw)
