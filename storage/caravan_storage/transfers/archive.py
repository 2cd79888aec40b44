"""A directory as a ZIP stream: made while it is sent, in bounded memory."""

import io
import os
import stat
import time
import zipfile
from collections.abc import Generator, Iterator

import structlog

from caravan_common.errors import InvalidParametersError
from caravan_storage.volumes.beneath import open_regular
from caravan_storage.volumes.folder import Folder
from caravan_storage.volumes.paths import Parts, displayed
from caravan_storage.volumes.walk import Visit

log = structlog.get_logger()

MOST_ENTRIES = 100_000
"""An archive's directory is held in memory until its end; this many entries take some 60 MB."""
CHUNK_BYTES = 512 * 1024
_LEVEL_ATTRIBUTE = "_compresslevel"
"""How one member's level is set until Python 3.13 is the oldest, which has ``compress_level``."""
_YEARS = (1980, 2107)


def check_size(folder: Folder, parts: Parts) -> None:
    """Refuse a directory with too many entries for one archive."""
    with folder.walking(parts) as visits:
        for count, _ in enumerate(visits, start=1):
            if count > MOST_ENTRIES:
                raise InvalidParametersError(
                    f"more than {MOST_ENTRIES} files are too many for one archive; ask for its directories one by one"
                )


def zipped(folder: Folder, parts: Parts) -> Generator[bytes, None, None]:
    """Yield the archive of a directory; paths in it begin below the directory. Blocks: iterate in threads.

    Links and special files are left out, and files that vanish meanwhile. Members are deflated, because what reads a
    ZIP as a stream finds the end of a stored member only in the directory at the archive's end; but not compressed:
    datasets and models hardly shrink, and a core would not deliver 40 MB of them a second.
    """
    sink = _Sink()
    with (
        folder.walking(parts) as visits,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for count, visit in enumerate(visits, start=1):
            if count > MOST_ENTRIES:
                raise InvalidParametersError("the directory grew too large for an archive")
            yield from _member(made, sink, visit)
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that cannot seek, and gives away what was written to it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._held += data
        return len(data)

    @property
    def held(self) -> int:
        return len(self._held)

    def taken(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _member(made: zipfile.ZipFile, sink: _Sink, visit: Visit) -> Iterator[bytes]:
    try:
        status = visit.entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            made.writestr(_info(visit.parts, status, slash="/"), b"")
            return
        if not stat.S_ISREG(status.st_mode):
            return
        descriptor = open_regular(visit.parent, visit.entry.name)
    except (OSError, InvalidParametersError) as err:
        log.warning("archive.left_out", name=displayed(visit.entry.name), error=str(err))
        return
    try:
        yield from _content(made, sink, _info(visit.parts, os.fstat(descriptor)), descriptor)
    finally:
        os.close(descriptor)


def _content(made: zipfile.ZipFile, sink: _Sink, info: zipfile.ZipInfo, descriptor: int) -> Iterator[bytes]:
    """Write a file as long as it was when it was opened, and give the archive away in chunks."""
    left = info.file_size
    with made.open(info, "w") as member:
        while left and (chunk := os.read(descriptor, min(CHUNK_BYTES, left))):
            member.write(chunk)
            left -= len(chunk)
            if sink.held >= CHUNK_BYTES:
                yield sink.taken()
    if sink.held >= CHUNK_BYTES:
        yield sink.taken()


def _info(parts: Parts, status: os.stat_result, slash: str = "") -> zipfile.ZipInfo:
    when = time.localtime(status.st_mtime)[:6]
    first, last = _YEARS
    date = when if first <= when[0] <= last else (first, 1, 1, 0, 0, 0)
    info = zipfile.ZipInfo("/".join(displayed(part) for part in parts) + slash, date_time=date)
    info.compress_type = zipfile.ZIP_STORED if slash else zipfile.ZIP_DEFLATED
    setattr(info, _LEVEL_ATTRIBUTE, 0)
    info.external_attr = (status.st_mode & 0xFFFF) << 16
    info.file_size = 0 if slash else status.st_size
    return info
