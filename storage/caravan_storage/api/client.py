"""The door for clients: uploads and downloads, each with a token of the manager's asking (`api.md` 4.1)."""

from collections.abc import Generator
from contextlib import aclosing

import structlog
from aiohttp import hdrs, web

from caravan_common.errors import CaravanError
from caravan_common.http import json_response
from caravan_storage.api.context import STORAGE, VERSION
from caravan_storage.threads import in_thread, iterate
from caravan_storage.tokens import Claims, Operation
from caravan_storage.transfers import tus
from caravan_storage.transfers.archive import zipped
from caravan_storage.transfers.download import abandon, send_chunk, send_file
from caravan_storage.transfers.naming import content_disposition
from caravan_storage.volumes.folder import OpenFile
from caravan_storage.volumes.partial import PartialFile, UploadState
from caravan_storage.volumes.paths import Parts, parse_directory, parse_file
from caravan_storage.volumes.volume import Volume

log = structlog.get_logger()
routes = web.RouteTableDef()

CORS_HEADERS = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "OPTIONS, HEAD, GET, PATCH",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Content-Type, If-Range, Range, Tus-Resumable, Upload-Length, Upload-Metadata, "
    "Upload-Offset, X-Requested-With",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, "
    "Last-Modified, Tus-Resumable, Tus-Version, Upload-Length, Upload-Offset",
    hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
}


async def add_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let browsers of any origin read the answer: the right is in the token, never in a cookie."""
    response.headers.update(CORS_HEADERS)
    if request.path == "/upload":
        response.headers[tus.RESUMABLE] = tus.VERSION
        response.headers["Tus-Version"] = tus.VERSION


def _claims(request: web.Request, operation: Operation) -> tuple[Claims, Volume]:
    storage = request.app[STORAGE]
    claims = storage.tokens.read(request.query.get("token", ""), operation)
    return claims, storage.volume(claims.volume)


@routes.get("/")
async def root(_request: web.Request) -> web.Response:
    """Say who answers here."""
    return json_response({"status": "ok", "type": "client-facing", "storage-proxy": VERSION})


@routes.options("/upload")
@routes.options("/download")
async def preflight(_request: web.Request) -> web.Response:
    """Tell browsers and TUS clients what is possible; the headers are those of every answer."""
    return web.Response(status=204)


@routes.get("/download")
async def download(request: web.Request) -> web.StreamResponse:
    """Send a file, or a directory as a ZIP stream."""
    claims, volume = _claims(request, "download")
    parts = parse_directory(claims.relpath)
    if claims.archive and await in_thread(_is_directory, volume, claims, parts):
        return await _send_archive(request, volume, claims, parts)
    file = await in_thread(_open_file, volume, claims, parts)
    try:
        return await send_file(request, file)
    finally:
        await in_thread(file.close)


def _is_directory(volume: Volume, claims: Claims, parts: Parts) -> bool:
    with volume.open_folder(claims.folder()) as folder:
        return folder.is_directory(parts)


def _open_file(volume: Volume, claims: Claims, parts: Parts) -> OpenFile:
    with volume.open_folder(claims.folder()) as folder:
        return folder.open_file(parts)


async def _send_archive(request: web.Request, volume: Volume, claims: Claims, parts: Parts) -> web.StreamResponse:
    name = f"{parts[-1] if parts else 'archive'}.zip"
    response = web.StreamResponse(headers={hdrs.CONTENT_DISPOSITION: content_disposition(name)})
    response.content_type = "application/zip"
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        async with aclosing(iterate(_archive(volume, claims, parts))) as chunks:
            async for chunk in chunks:
                await send_chunk(response, chunk)
        await response.write_eof()
    except (CaravanError, OSError) as err:
        log.warning("archive.broken_off", volume=volume.name, error=str(err))
        abandon(request, response)
    return response


def _archive(volume: Volume, claims: Claims, parts: Parts) -> Generator[bytes, None, None]:
    with volume.open_folder(claims.folder()) as folder:
        yield from zipped(folder, parts)


@routes.head("/upload")
async def upload_offset(request: web.Request) -> web.Response:
    """Say how many bytes of an upload have arrived."""
    tus.check_version(request.headers)
    claims, volume = _claims(request, "upload")
    state = await in_thread(_settled_state, volume, claims, _target(request, claims))
    headers = {
        tus.OFFSET: str(state.offset),
        tus.LENGTH: str(claims.size),
        hdrs.CACHE_CONTROL: "no-store",
    }
    return web.Response(status=200, headers=headers)


@routes.patch("/upload")
async def upload(request: web.Request) -> web.Response:
    """Take the next piece of an upload; the last one puts the file in its place."""
    tus.check_version(request.headers)
    claims, volume = _claims(request, "upload")
    target = _target(request, claims)
    offset = tus.offset_of(request.headers)
    state = await in_thread(_state, volume, claims)
    tus.check_offset(offset, state.offset, claims.size, request.content_length)
    if not state.done:
        offset = await _append(request, volume, claims, target)
    return web.Response(status=204, headers={tus.OFFSET: str(offset)})


async def _append(request: web.Request, volume: Volume, claims: Claims, target: Parts) -> int:
    partial = await in_thread(_open_upload, volume, claims)
    try:
        offset = await in_thread(partial.size)
        tus.check_offset(tus.offset_of(request.headers), offset, claims.size, request.content_length)
        offset = await tus.receive(partial, request.content, offset, claims.size)
        if offset == claims.size:
            await in_thread(partial.finish, target)
    finally:
        await in_thread(partial.close)
    return offset


def _target(request: web.Request, claims: Claims) -> Parts:
    """Where the file goes: below ``dst_dir``, when the client says so. It may write anywhere in the folder anyway."""
    return parse_file("/".join(filter(None, (request.query.get("dst_dir"), claims.relpath))))


def _state(volume: Volume, claims: Claims) -> UploadState:
    with volume.open_folder(claims.folder()) as folder:
        return folder.upload_state(claims.session, claims.size)


def _settled_state(volume: Volume, claims: Claims, target: Parts) -> UploadState:
    """Return the state, after putting a file in its place that is whole and was left behind by a crash."""
    state = _state(volume, claims)
    if not state.done and state.offset == claims.size:
        partial = _open_upload(volume, claims)
        try:
            partial.finish(target)
        finally:
            partial.close()
    return state


def _open_upload(volume: Volume, claims: Claims) -> PartialFile:
    with volume.open_folder(claims.folder()) as folder:
        return folder.open_upload(claims.session)
