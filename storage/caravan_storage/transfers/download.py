"""Send one file, or the part of it that was asked for."""

import asyncio
import os

import structlog
from aiohttp import hdrs, web

from caravan_storage.measures import SENT
from caravan_storage.threads import in_thread
from caravan_storage.transfers.naming import content_disposition, content_type
from caravan_storage.transfers.ranges import Slice, Version, choose
from caravan_storage.volumes.folder import OpenFile

log = structlog.get_logger()

CHUNK_BYTES = 1024 * 1024
STALLED_SECONDS = 300
"""A client that takes longer for one chunk has gone."""


async def send_file(request: web.Request, file: OpenFile) -> web.StreamResponse:
    """Answer GET or HEAD with the file, which stays the caller's to close."""
    version = Version(file.size, file.modified_ns, file.identity)
    wanted = choose(version, request.headers.get(hdrs.RANGE), request.headers.get(hdrs.IF_RANGE))
    response = web.StreamResponse(status=wanted.status, headers=_headers(file.name, version, wanted))
    response.content_length = wanted.length
    try:
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            await _send(response, file.descriptor, wanted)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        log.info("download.broken_off", path=request.path)
        abandon(request, response)
    return response


def abandon(request: web.Request, response: web.StreamResponse) -> None:
    """Close the connection, so that the client sees that the answer is not whole."""
    response.force_close()
    if request.transport is not None:
        request.transport.abort()


def _headers(name: str, version: Version, wanted: Slice) -> dict[str, str]:
    headers = {
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: version.etag,
        hdrs.LAST_MODIFIED: version.last_modified,
        hdrs.CONTENT_TYPE: content_type(name),
        hdrs.CONTENT_DISPOSITION: content_disposition(name),
        "X-Content-Type-Options": "nosniff",
    }
    if wanted.status == 206:
        last = wanted.start + wanted.length - 1
        headers[hdrs.CONTENT_RANGE] = f"bytes {wanted.start}-{last}/{version.size}"
    elif wanted.status == 416:
        headers[hdrs.CONTENT_RANGE] = f"bytes */{version.size}"
    return headers


async def _send(response: web.StreamResponse, descriptor: int, wanted: Slice) -> None:
    """Send the bytes, a chunk at a time."""
    end = wanted.start + wanted.length
    position = wanted.start
    while position < end:
        chunk = await in_thread(os.pread, descriptor, min(CHUNK_BYTES, end - position), position)
        if not chunk:
            raise ConnectionError("the file became shorter while it was sent")
        await send_chunk(response, chunk)
        position += len(chunk)


async def send_chunk(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a piece of an answer. Raises ConnectionError or TimeoutError when the client has gone."""
    async with asyncio.timeout(STALLED_SECONDS):
        await response.write(chunk)
    SENT.inc(len(chunk))
