"""Receive a file in pieces, by the core of the TUS protocol 1.0.0 (https://tus.io/protocols/resumable-upload)."""

import asyncio
from collections.abc import Mapping

from aiohttp import ClientPayloadError, StreamReader, hdrs

from caravan_common.errors import CaravanError, InvalidParametersError
from caravan_storage.measures import RECEIVED
from caravan_storage.threads import in_thread
from caravan_storage.volumes.partial import PartialFile

VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"
RESUMABLE, OFFSET, LENGTH = "Tus-Resumable", "Upload-Offset", "Upload-Length"

BLOCK_BYTES = 2 * 1024 * 1024
STALLED_SECONDS = 30
"""A client that sends nothing for so long has gone; another request may go on with the upload then."""


class OffsetMismatchError(CaravanError):
    """The request does not continue where the upload is."""

    status = 409
    slug = "upload-offset-mismatch"
    title = "The upload is at another offset."
    code = "storage_upload_conflict"


class TooManyBytesError(CaravanError):
    """The request carries more than is left of the file."""

    status = 413
    slug = "upload-too-large"
    title = "More bytes than the upload's length."
    code = "storage_upload_invalid-parameters"


class BodyBrokenOffError(CaravanError):
    """The client went away before the request was whole."""

    status = 400
    slug = "upload-broken-off"
    title = "The request broke off; what arrived is kept."
    code = "storage_upload_canceled"


class BodyStalledError(CaravanError):
    """The client stopped sending."""

    status = 408
    slug = "upload-stalled"
    title = "Nothing arrived for too long; what arrived is kept."
    code = "storage_upload_timeout"


class TusVersionError(CaravanError):
    """The client speaks another version of the protocol."""

    status = 412
    slug = "upload-version"
    title = "Only version 1.0.0 of the TUS protocol is spoken here."
    code = "storage_upload_invalid-parameters"


class ContentTypeError(CaravanError):
    """The request's body is not what an upload carries."""

    status = 415
    slug = "upload-content-type"
    title = f"The content type of an upload is {CONTENT_TYPE}."
    code = "storage_upload_invalid-parameters"


def check_version(headers: Mapping[str, str]) -> None:
    """Refuse other versions of the protocol. The Python client 25.5 may leave the header out."""
    if headers.get(RESUMABLE, VERSION) != VERSION:
        raise TusVersionError


def offset_of(headers: Mapping[str, str]) -> int:
    """Return where the body of a PATCH begins, from its headers."""
    if headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise ContentTypeError
    text = headers.get(OFFSET, "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise InvalidParametersError(f"the header {OFFSET} must be a number of bytes")
    return int(text)


def check_offset(offset: int, arrived: int, size: int, length: int | None) -> None:
    """Refuse a PATCH that does not continue the upload, or of which it is known that it is too long."""
    if offset != arrived:
        raise OffsetMismatchError(f"the upload is at {arrived}, not at {offset}", offset=arrived)
    if length is not None and offset + length > size:
        raise TooManyBytesError(f"the file has {size} bytes", size=size)


async def receive(partial: PartialFile, body: StreamReader, offset: int, size: int) -> int:
    """Append the body to the upload, which is at ``offset``, and return where the upload is then.

    What arrived before the body broke off or stalled is kept. A body that is too long leaves the upload as it was.
    """
    try:
        return offset + await _copy(partial, body, size - offset)
    except TooManyBytesError:
        await in_thread(partial.truncate, offset)
        raise


async def _copy(partial: PartialFile, body: StreamReader, room: int) -> int:
    held = bytearray()
    copied = 0
    try:
        while data := await _next(body):
            copied += len(data)
            if copied > room:
                raise TooManyBytesError
            held += data
            if len(held) >= BLOCK_BYTES:
                block, held = held, bytearray()
                await _append(partial, block)
    finally:
        if held:
            await _append(partial, held)
    return copied


async def _append(partial: PartialFile, block: bytearray) -> None:
    await in_thread(partial.append, block)
    RECEIVED.inc(len(block))


async def _next(body: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            return await body.readany()
    except TimeoutError as err:
        raise BodyStalledError from err
    except (ConnectionError, ClientPayloadError) as err:
        raise BodyBrokenOffError from err
