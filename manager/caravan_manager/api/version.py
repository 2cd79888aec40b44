"""The protocol's version: what is spoken here, and which versions of clients are understood. Pure."""

import re

from caravan_common.errors import InvalidAuthParametersError, UnsupportedVersionError

OLDEST = (4, 20181215)
_VERSION = re.compile(r"^v(?P<major>\d{1,2})\.(?P<date>\d{8})$")
_OF_MANAGER = {"23": "v7.20230615", "24": "v8.20240915", "25": "v8.20240915", "26": "v9.20250722"}


def api_version(manager_version: str) -> str:
    """Return the protocol's version that a manager of that version speaks."""
    return _OF_MANAGER.get(manager_version.partition(".")[0], "v8.20240915")


def check_version(text: str | None) -> str:
    """Return the client's version. Raises an error when it is missing, malformed or too old."""
    if text is None:
        raise InvalidAuthParametersError("API version missing in request headers")
    matched = _VERSION.match(text)
    if matched is None or (int(matched["major"]), int(matched["date"])) < OLDEST:
        raise UnsupportedVersionError("Unsupported API version.")
    return text
