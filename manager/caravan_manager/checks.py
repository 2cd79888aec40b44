"""Values that people write into what is theirs to change: each is returned as it is kept, or refused by its name. Pure.

Every check takes the value's name and the value, and raises InvalidParametersError.
"""

from collections.abc import Callable, Collection, Mapping
from typing import cast

from caravan_common.errors import InvalidParametersError

LARGEST = 2**31 - 1
LONGEST_TEXT = 1024
Check = Callable[[str, object], object]
Values = dict[str, object]
"""Columns and what they are to hold."""


def checked(given: Mapping[str, object], checks: Mapping[str, Check], nullable: Collection[str] = ()) -> Values:
    """Return the columns that are given, each checked; None leaves one as it is unless it may be null."""
    return {
        name: None if given[name] is None else check(name, given[name])
        for name, check in checks.items()
        if name in given and (given[name] is not None or name in nullable)
    }


def flag(name: str, value: object) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise InvalidParametersError(f"{name} is true or false")
    return value


def text(name: str, value: object, longest: int = LONGEST_TEXT) -> str:
    """Check for a text that PostgreSQL keeps."""
    if not isinstance(value, str) or len(value) > longest or not is_kept(value):
        raise InvalidParametersError(f"{name} is a text of at most {longest} characters")
    return value


def number(name: str, value: object, least: int = 0, most: int = LARGEST) -> int:
    """Check for a whole number between two bounds, which may be had."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidParametersError(f"{name} is a number from {least} to {most}")
    return value


def positive(name: str, value: object) -> int:
    """Check for a whole number from 1."""
    return number(name, value, least=1)


def json_object(name: str, value: object) -> dict[str, object]:
    """Check for an object in JSON, whatever is in it."""
    if not isinstance(value, dict):
        raise InvalidParametersError(f"{name} is an object in JSON")
    return cast("dict[str, object]", value)


def of_one(called: str, name: str, longest: int) -> str:
    """Return the name of a thing that is there or not; refuses one that nothing can have, and no database looks up.

    ``called`` is what it would name, for people: ``the name of a domain``.
    """
    if len(name) > longest or not is_kept(name):
        raise InvalidParametersError(f"{name[:longest]!r} cannot be {called}")
    return name


def is_kept(written: str) -> bool:
    """Whether PostgreSQL keeps a text: it has no NUL, and no half of a character."""
    return "\0" not in written and written.encode("utf-8", "ignore").decode() == written
