"""The door for managers: the calls of `caravan_common/wire/storage.py`."""

import hmac
from typing import TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel

from caravan_common.errors import AuthorizationFailedError
from caravan_common.http import Handler, json_response
from caravan_common.wire.storage import (
    FileList,
    FolderRef,
    ListFiles,
    MakeDirectories,
    MakeDirectoriesResult,
    RequestDownload,
    RequestUpload,
    TransferTicket,
    VolumeList,
)
from caravan_common.wire.storage import Volume as VolumeFacts
from caravan_storage.api.context import STORAGE
from caravan_storage.threads import in_thread
from caravan_storage.transfers.archive import check_size
from caravan_storage.volumes.paths import Parts, parse_directory, parse_file
from caravan_storage.volumes.volume import Volume

routes = web.RouteTableDef()

MOST_FILES = 10_000
USAGE_SECONDS = 5
PUBLIC = frozenset({"/health"})

Message = TypeVar("Message", bound=BaseModel)


@web.middleware
async def authorized(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only managers in: whoever shows the token."""
    if request.path not in PUBLIC:
        scheme, _, shown = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        expected = request.app[STORAGE].manager_token
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), expected.encode()):
            raise AuthorizationFailedError("this call needs the manager's token")
    return await handler(request)


async def _read(request: web.Request, message: type[Message]) -> Message:
    return message.model_validate_json(await request.read())


def _answer(message: BaseModel) -> web.Response:
    return json_response(message.model_dump(mode="json"))


@routes.get("/volumes")
async def list_volumes(request: web.Request) -> web.Response:
    """Tell all volumes and how full they are."""
    volumes = [await in_thread(_facts, volume) for volume in request.app[STORAGE].volumes.values()]
    return _answer(VolumeList(volumes=volumes))


def _facts(volume: Volume) -> VolumeFacts:
    return VolumeFacts(
        name=volume.name,
        backend=volume.backend,
        capabilities=list(volume.capabilities),
        usage_percent=volume.usage_percent(),
    )


@routes.post("/folders")
async def create_folder(request: web.Request) -> web.Response:
    """Make a folder; one that exists is fine."""
    body = await _read(request, FolderRef)
    await in_thread(request.app[STORAGE].volume(body.volume).create_folder, body)
    return web.Response(status=204)


@routes.post("/folders/delete")
async def delete_folder(request: web.Request) -> web.Response:
    """Delete a folder; one that does not exist is fine. Its space comes free soon after."""
    body = await _read(request, FolderRef)
    storage = request.app[STORAGE]
    await in_thread(storage.volume(body.volume).delete_folder, body)
    storage.sweeper.wake()
    return web.Response(status=204)


@routes.post("/folders/usage")
async def measure_folder(request: web.Request) -> web.Response:
    """Count a folder's files and bytes."""
    body = await _read(request, FolderRef)
    storage = request.app[STORAGE]
    async with storage.walks:
        return _answer(await in_thread(storage.volume(body.volume).measure, body, USAGE_SECONDS))


@routes.post("/folders/mkdir")
async def make_directories(request: web.Request) -> web.Response:
    """Make directories; each path has an outcome of its own."""
    body = await _read(request, MakeDirectories)
    return _answer(await in_thread(_make_directories, request.app[STORAGE].volume(body.volume), body))


def _make_directories(volume: Volume, body: MakeDirectories) -> MakeDirectoriesResult:
    with volume.open_folder(body) as folder:
        outcomes = [folder.make_directory(p, parents=body.parents, exist_ok=body.exist_ok) for p in body.paths]
    return MakeDirectoriesResult(outcomes=outcomes)


@routes.post("/folders/files")
async def list_files(request: web.Request) -> web.Response:
    """List one directory of a folder."""
    body = await _read(request, ListFiles)
    return _answer(await in_thread(_list_files, request.app[STORAGE].volume(body.volume), body))


def _list_files(volume: Volume, body: ListFiles) -> FileList:
    parts = parse_directory(body.path)
    with volume.open_folder(body) as folder:
        return folder.list_files(parts, MOST_FILES)


@routes.post("/folders/upload")
async def request_upload(request: web.Request) -> web.Response:
    """Begin an upload. An empty file needs no more than this."""
    body = await _read(request, RequestUpload)
    storage = request.app[STORAGE]
    target = parse_file(body.path)
    session = await in_thread(_begin_upload, storage.volume(body.volume), body, target)
    token = storage.tokens.for_upload(body, "/".join(target), body.size, session)
    return _answer(TransferTicket(token=token, url=f"{storage.public_url}/upload"))


def _begin_upload(volume: Volume, body: RequestUpload, target: Parts) -> str:
    with volume.open_folder(body) as folder:
        return folder.begin_upload(target, body.size)


@routes.post("/folders/download")
async def request_download(request: web.Request) -> web.Response:
    """Give the right to fetch a file, or a directory as an archive. What cannot be fetched is refused here already."""
    body = await _read(request, RequestDownload)
    storage = request.app[STORAGE]
    parts = parse_directory(body.path) if body.archive else parse_file(body.path)
    async with storage.walks:
        await in_thread(_check_download, storage.volume(body.volume), body, parts)
    token = storage.tokens.for_download(body, "/".join(parts) or ".", archive=body.archive)
    return _answer(TransferTicket(token=token, url=f"{storage.public_url}/download"))


def _check_download(volume: Volume, body: RequestDownload, parts: Parts) -> None:
    with volume.open_folder(body) as folder:
        if body.archive and folder.is_directory(parts):
            check_size(folder, parts)
        else:
            folder.open_file(parts).close()
