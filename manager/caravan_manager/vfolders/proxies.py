"""The manager's side of the storage proxies' API; its messages are in ``caravan_common.wire.storage``."""

import asyncio
from typing import Protocol, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from caravan_common.errors import (
    CaravanError,
    ConflictError,
    ForbiddenError,
    InvalidParametersError,
    NotFoundError,
    UnavailableError,
)
from caravan_common.wire.storage import (
    FileList,
    FolderRef,
    FolderUsage,
    ListFiles,
    MakeDirectories,
    MakeDirectoriesResult,
    RequestDownload,
    RequestUpload,
    TransferTicket,
    VolumeList,
)
from caravan_manager.config import StorageSection

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=3)
MAX_ANSWER_BYTES = 64 * 1024 * 1024

Answer = TypeVar("Answer", bound=BaseModel)


class _Problem(BaseModel):
    """What is read of a problem document."""

    title: str | None = None
    msg: str | None = None


class StorageProxyError(CaravanError):
    """A storage proxy failed, or said something that it should not."""

    status = 502
    slug = "storage-proxy-error"
    title = "The storage proxy returned an error."
    code = "storage-proxy_generic_internal-error"


class FileNotInFolderError(NotFoundError):
    """The folder has no such file or directory, or the volume no such folder."""

    object_name = "file or directory in the virtual folder"
    code = "storage-proxy_read_not-found"


class StorageFullError(CaravanError):
    """The volume or the folder's quota is full."""

    status = 507
    slug = "insufficient-storage"
    title = "Insufficient storage."
    code = "storage_write_insufficient-storage"


class StorageProxy(Protocol):
    """What the manager asks of one storage proxy.

    Raises UnavailableError when it does not answer, StorageProxyError when it fails, FileNotInFolderError for paths
    that do not exist, and InvalidParametersError for paths that cannot be.
    """

    async def volumes(self) -> VolumeList:
        """Return the proxy's volumes."""
        ...

    async def create(self, folder: FolderRef) -> None:
        """Make a folder; one that exists is fine."""
        ...

    async def delete(self, folder: FolderRef) -> None:
        """Delete a folder with all that is in it; one that does not exist is fine."""
        ...

    async def usage(self, folder: FolderRef) -> FolderUsage:
        """Count files and bytes."""
        ...

    async def make_directories(self, request: MakeDirectories) -> MakeDirectoriesResult:
        """Make directories in a folder."""
        ...

    async def files(self, request: ListFiles) -> FileList:
        """List one directory of a folder."""
        ...

    async def request_upload(self, request: RequestUpload) -> TransferTicket:
        """Return the right to upload one file."""
        ...

    async def request_download(self, request: RequestDownload) -> TransferTicket:
        """Return the right to download."""
        ...


class HttpStorageProxy:
    """A real storage proxy, over HTTP with the token that it shares with the manager."""

    def __init__(self, client: aiohttp.ClientSession, section: StorageSection) -> None:
        self._client = client
        self._url = section.manager_url.rstrip("/")
        token = section.token.get_secret_value()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def volumes(self) -> VolumeList:
        """Return the proxy's volumes."""
        return _read(VolumeList, await self._call("GET", "/volumes"))

    async def create(self, folder: FolderRef) -> None:
        """Make a folder; one that exists is fine."""
        await self._call("POST", "/folders", folder)

    async def delete(self, folder: FolderRef) -> None:
        """Delete a folder with all that is in it; one that does not exist is fine."""
        await self._call("POST", "/folders/delete", folder)

    async def usage(self, folder: FolderRef) -> FolderUsage:
        """Count files and bytes."""
        return _read(FolderUsage, await self._call("POST", "/folders/usage", folder))

    async def make_directories(self, request: MakeDirectories) -> MakeDirectoriesResult:
        """Make directories in a folder."""
        return _read(MakeDirectoriesResult, await self._call("POST", "/folders/mkdir", request))

    async def files(self, request: ListFiles) -> FileList:
        """List one directory of a folder."""
        return _read(FileList, await self._call("POST", "/folders/files", request))

    async def request_upload(self, request: RequestUpload) -> TransferTicket:
        """Return the right to upload one file."""
        return _read(TransferTicket, await self._call("POST", "/folders/upload", request))

    async def request_download(self, request: RequestDownload) -> TransferTicket:
        """Return the right to download."""
        return _read(TransferTicket, await self._call("POST", "/folders/download", request))

    async def _call(self, method: str, path: str, message: BaseModel | None = None) -> bytes:
        body = None if message is None else message.model_dump_json().encode()
        try:
            async with (
                asyncio.timeout(TIMEOUT.total),
                self._client.request(
                    method, self._url + path, data=body, headers=self._headers, timeout=TIMEOUT, allow_redirects=False
                ) as answer,
            ):
                content = await _read_all(answer)
        except (aiohttp.ClientError, TimeoutError) as err:
            raise UnavailableError("the storage proxy does not answer") from err
        if answer.status not in {200, 204}:
            raise _refusal(answer.status, content)
        return content


async def _read_all(answer: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise StorageProxyError("the storage proxy's answer is too long")
    return bytes(content)


def _read(model: type[Answer], content: bytes) -> Answer:
    try:
        return model.model_validate_json(content)
    except ValidationError as err:
        raise StorageProxyError("the storage proxy's answer makes no sense") from err


def _refusal(status: int, content: bytes) -> CaravanError:
    reason = _reason(content)
    match status:
        case 400:
            return InvalidParametersError(reason)
        case 403:
            return ForbiddenError(reason)
        case 404:
            return FileNotInFolderError(reason)
        case 409:
            return ConflictError(reason)
        case 503:
            return UnavailableError(reason)
        case 507:
            return StorageFullError(reason)
        case _:
            return StorageProxyError(reason, proxy_status=status)


def _reason(content: bytes) -> str:
    try:
        problem = _Problem.model_validate_json(content)
    except ValidationError:
        problem = _Problem()
    return problem.msg or problem.title or "the storage proxy gave no reason"
