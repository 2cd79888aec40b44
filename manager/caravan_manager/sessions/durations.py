"""Durations and moments as people write them: `1h`, `2hours 15min`, `300`, `-1day`, `2026-11-21T09:00+09:00`. Pure."""

import re
from datetime import UTC, datetime, timedelta

from caravan_common.errors import InvalidParametersError

_PART = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)\s*", re.IGNORECASE | re.ASCII)
_WORDS = {
    604800: ("w", "week", "weeks"),
    86400: ("d", "day", "days"),
    3600: ("h", "hr", "hrs", "hour", "hours"),
    60: ("m", "min", "mins", "minute", "minutes"),
    1: ("", "s", "sec", "secs", "second", "seconds"),
}
_UNITS = {word: seconds for seconds, words in _WORDS.items() for word in words}
LONGEST = timedelta(days=3650)


def parse_duration(written: object) -> timedelta:
    """Return a duration: a number of seconds, or a text of amounts with units. Raises InvalidParametersError."""
    if isinstance(written, str | int | float) and not isinstance(written, bool):
        text = str(written).strip()
        sign = -1 if text.startswith("-") else 1
        seconds = _seconds(text[1:] if text[:1] in {"+", "-"} else text)
        if seconds is not None and seconds <= LONGEST.total_seconds():
            return timedelta(seconds=sign * seconds)
    raise InvalidParametersError(f"{str(written)[:100]!r} is not a duration; write for example 90, 30m or 1d12h")


def _seconds(text: str) -> float | None:
    seconds, rest = 0.0, text.lstrip()
    while rest:
        part = _PART.match(rest)
        if part is None or part["unit"].lower() not in _UNITS:
            return None
        seconds += float(part["amount"]) * _UNITS[part["unit"].lower()]
        rest = rest[part.end() :]
    return seconds if text.strip() else None


def parse_moment(written: str, now: datetime) -> datetime:
    """Return a moment: in ISO 8601, UTC where no time zone is said, or as a duration from now."""
    try:
        moment = datetime.fromisoformat(written.strip())
    except ValueError:
        return now + parse_duration(written)
    try:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as err:
        raise InvalidParametersError(f"{written[:100]!r} is beyond all calendars") from err
