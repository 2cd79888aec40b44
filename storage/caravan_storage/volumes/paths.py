"""Which texts are paths inside a folder. Pure: nothing here looks at a disk."""

from typing import TypeAlias

from caravan_common.errors import InvalidParametersError

Parts: TypeAlias = tuple[str, ...]
"""The components of a path inside a folder; the folder itself is the empty tuple."""

UPLOADS = ".upload"
"""The directory in each folder that holds uploads in progress. Users' paths never reach it."""

LONGEST_NAME = 255
LONGEST_PATH = 4096
DEEPEST = 100


def parse_directory(text: str) -> Parts:
    """Return the parts of a path that may be the folder itself (``.``). Raises InvalidParametersError."""
    if not text:
        raise InvalidParametersError("the path is empty")
    if text.startswith("/"):
        raise InvalidParametersError("the path must be relative to the folder, without a leading slash", path=text)
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    for part in parts:
        _check_name(part)
    if len(parts) > DEEPEST or sum(len(part.encode()) + 1 for part in parts) > LONGEST_PATH:
        raise InvalidParametersError(f"the path is longer than {LONGEST_PATH} bytes or {DEEPEST} directories")
    if parts and parts[0] == UPLOADS:
        raise InvalidParametersError(f"{UPLOADS} is reserved for uploads in progress")
    return parts


def parse_file(text: str) -> Parts:
    """Return the parts of a path that names something in the folder. Raises InvalidParametersError."""
    parts = parse_directory(text)
    if not parts:
        raise InvalidParametersError("the path must name a file, not the folder itself")
    return parts


def _check_name(name: str) -> None:
    if name == "..":
        raise InvalidParametersError("the path must not contain '..'")
    if "\0" in name:
        raise InvalidParametersError("the path must not contain NUL")
    try:
        encoded = name.encode()
    except UnicodeEncodeError as err:
        raise InvalidParametersError("the path must be valid Unicode") from err
    if len(encoded) > LONGEST_NAME:
        raise InvalidParametersError(f"a name in the path is longer than {LONGEST_NAME} bytes")


def displayed(name: str) -> str:
    r"""Return how a name from a disk is shown: bytes that are not UTF-8 appear as ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
