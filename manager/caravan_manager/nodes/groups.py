"""What a superadmin may write into a scaling group: each value is checked before it is kept. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import cast

from caravan_common.errors import InvalidParametersError
from caravan_manager.checks import Check, Values, checked, flag, is_kept, of_one, text
from caravan_manager.names import is_name
from caravan_manager.nodes.model import Guest, GuestKind
from caravan_manager.people.tenants import check_access_key, check_domain_name

LONGEST_NAME = 64
MOST_NAMES = 1000
LARGEST_OBJECT = 65536


def check_group_name(name: str) -> str:
    """Return the name of a new scaling group. Raises InvalidParametersError."""
    if not is_name(name, LONGEST_NAME) or "," in name:
        raise InvalidParametersError(f"{name[:LONGEST_NAME]!r} cannot be the name of a scaling group")
    return name


def check_group_names(names: Sequence[str]) -> Sequence[str]:
    """Return names of scaling groups that are to be opened or closed. Raises InvalidParametersError."""
    if not 0 < len(names) <= MOST_NAMES:
        raise InvalidParametersError(f"name from 1 to {MOST_NAMES} scaling groups")
    return [check_known_group(name) for name in names]


def check_known_group(name: str) -> str:
    """Return the name of a scaling group that should be there. Raises InvalidParametersError for what can be none."""
    return of_one("the name of a scaling group", name, LONGEST_NAME)


def check_known_node(name: str) -> str:
    """Return the name of a node that should be there. Raises InvalidParametersError for what can be none."""
    return of_one("the ID of an agent", name, LONGEST_NAME)


def check_guest(guest: Guest) -> Guest:
    """Return to whom scaling groups are to be open. Raises InvalidParametersError for what can be nobody."""
    if guest.kind is GuestKind.DOMAIN:
        check_domain_name(str(guest.id))
    if guest.kind is GuestKind.KEYPAIR:
        check_access_key(str(guest.id))
    return guest


def checked_group(given: Mapping[str, object]) -> Values:
    """Return the columns that are given, each checked; None leaves one as it is. Raises InvalidParametersError.

    `wsproxy_api_token` is a secret, and there is nothing here that would use it.
    """
    if given.get("wsproxy_api_token") is not None:
        raise InvalidParametersError("wsproxy_api_token: secrets are kept in Vault, not in scaling groups")
    return checked(given, _CHECKS)


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
        raise InvalidParametersError(f"{name} is a word of at most {LONGEST_NAME} characters")
    return value


def _object(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidParametersError(f"{name} is an object in JSON")
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (ValueError, RecursionError) as err:
        raise InvalidParametersError(f"{name} has numbers that JSON does not know, or is nested too deeply") from err
    if len(written) > LARGEST_OBJECT or "\\u0000" in written or not is_kept(written):
        raise InvalidParametersError(f"{name} is JSON of at most {LARGEST_OBJECT} characters, without NUL")
    return cast("dict[str, object]", value)


_CHECKS: dict[str, Check] = {
    "description": text,
    "is_active": flag,
    "is_public": flag,
    "wsproxy_addr": text,
    "driver": _word,
    "driver_opts": _object,
    "scheduler": _word,
    "scheduler_opts": _object,
    "use_host_network": flag,
}
