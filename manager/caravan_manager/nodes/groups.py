"""What a superadmin may write into a scaling group: each value is checked before it is kept. Pure."""

from collections.abc import Callable, Mapping
from typing import cast

from caravan_common.errors import InvalidParametersError

LONGEST_NAME = 64
LONGEST_TEXT = 1024
Values = dict[str, object]
"""Columns of a scaling group and what they are to hold."""


def check_group_name(name: str) -> str:
    """Return the name of a new scaling group. Raises InvalidParametersError."""
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME or "," in name:
        raise InvalidParametersError(f"{name[:LONGEST_NAME]!r} cannot be the name of a scaling group")
    return name


def checked_group(given: Mapping[str, object]) -> Values:
    """Return the columns that are given, each checked; None leaves one as it is. Raises InvalidParametersError.

    `wsproxy_api_token` is a secret, and there is nothing here that would use it.
    """
    if given.get("wsproxy_api_token") is not None:
        raise InvalidParametersError("wsproxy_api_token: secrets are kept in Vault, not in scaling groups")
    return {name: check(name, given[name]) for name, check in _CHECKS.items() if given.get(name) is not None}


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidParametersError(f"{name} is true or false")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
        raise InvalidParametersError(f"{name} is a text of at most {LONGEST_TEXT} characters")
    return value


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
        raise InvalidParametersError(f"{name} is a word of at most {LONGEST_NAME} characters")
    return value


def _object(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidParametersError(f"{name} is an object in JSON")
    return cast("dict[str, object]", value)


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "description": _text,
    "is_active": _flag,
    "is_public": _flag,
    "wsproxy_addr": _text,
    "driver": _word,
    "driver_opts": _object,
    "scheduler": _word,
    "scheduler_opts": _object,
    "use_host_network": _flag,
}
