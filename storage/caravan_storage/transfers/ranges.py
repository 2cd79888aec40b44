"""Which bytes of a file a request wants (RFC 9110, section 14). Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

_RANGE = re.compile(r"^bytes=(?P<first>\d{1,19})?-(?P<last>\d{1,19})?$")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of a file from another."""

    size: int
    modified_ns: int
    identity: int

    @property
    def etag(self) -> str:
        """The strong entity tag, quotes included."""
        return f'"{self.identity:x}-{self.modified_ns:x}-{self.size:x}"'

    @property
    def last_modified(self) -> str:
        """The time of the last change, to the second, as HTTP writes it."""
        return format_datetime(datetime.fromtimestamp(self.modified_ns // 10**9, UTC), usegmt=True)


@dataclass(frozen=True, slots=True)
class Slice:
    """The answer's ``status`` and which bytes it carries; 416 carries none."""

    status: int
    start: int
    length: int


def choose(version: Version, range_header: str | None, if_range: str | None) -> Slice:
    """Decide between the whole file, a part of it, and a refusal.

    More than one range, or one that cannot be read, is answered with the whole file, as the standard allows.
    """
    whole = Slice(200, 0, version.size)
    matched = _RANGE.match((range_header or "").strip().replace(" ", ""))
    if matched is None or (if_range is not None and not _same(version, if_range.strip())):
        return whole
    first, last = matched["first"], matched["last"]
    if first is None:
        return whole if last is None else _suffix(version.size, int(last))
    return _from(version.size, int(first), int(last) if last is not None else None) or whole


def _same(version: Version, validator: str) -> bool:
    if validator.startswith(('"', "W/")):
        return validator == version.etag
    try:
        return parsedate_to_datetime(validator) == parsedate_to_datetime(version.last_modified)
    except (TypeError, ValueError):
        return False


def _suffix(size: int, count: int) -> Slice:
    length = min(size, count)
    return Slice(206, size - length, length) if length else Slice(416, 0, 0)


def _from(size: int, first: int, last: int | None) -> Slice | None:
    if last is not None and last < first:
        return None
    if first >= size:
        return Slice(416, 0, 0)
    return Slice(206, first, (size if last is None else min(last + 1, size)) - first)
