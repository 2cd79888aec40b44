"""What a superadmin may write into a keypair's policy: each value is checked before it is kept. Pure."""

from collections.abc import Callable, Mapping
from typing import cast

from caravan_common.errors import InvalidParametersError, NotFoundError
from caravan_manager.names import is_name
from caravan_manager.quotas.model import SlotLimit
from caravan_manager.vfolders.model import HostRight

LARGEST = 2**31 - 1
LONGEST_NAME = 256
DEFAULTS = frozenset({"LIMITED", "UNLIMITED"})
RIGHTS = (*HostRight, "invite-others", "set-user-specific-permission", "set-user-perm", "clone-vfolder")
"""Those that clients of Backend.AI send unasked, 26.9 with names of its own; nobody looks at the last four yet."""
Values = dict[str, object]
"""Columns of a policy and what they are to hold."""


class PolicyNotFoundError(NotFoundError):
    """There is no policy of this name."""

    object_name = "keypair resource policy"


def check_policy_name(name: str) -> str:
    """Return the name of a new policy. Raises InvalidParametersError."""
    if not is_name(name, LONGEST_NAME):
        raise InvalidParametersError(f"{name[:LONGEST_NAME]!r} cannot be the name of a policy")
    return name


def checked_policy(given: Mapping[str, object]) -> Values:
    """Return the columns that are given, each checked; None leaves one as it is, or lifts a limit of the queue.

    Raises InvalidParametersError.
    """
    return {
        name: None if given[name] is None else check(name, given[name])
        for name, check in _CHECKS.items()
        if name in given and (given[name] is not None or name in _NULLABLE)
    }


def _default(name: str, value: object) -> object:
    if value not in DEFAULTS:
        raise InvalidParametersError(f"{name} is LIMITED or UNLIMITED, not {value!r}")
    return value


def _number(name: str, value: object, least: int = 0, most: int = LARGEST) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise InvalidParametersError(f"{name} is a number from {least} to {most}")
    return value


def _positive(name: str, value: object) -> int:
    return _number(name, value, least=1)


def _seconds(name: str, value: object) -> int:
    return _number(name, value, most=2**53)


def _slots(name: str, value: object) -> dict[str, str]:
    return SlotLimit.parse(_object(name, value)).to_json()


def _pending_slots(name: str, value: object) -> dict[str, str]:
    limit = SlotLimit.parse(_object(name, value))
    if limit.models:
        raise InvalidParametersError(f"{name} knows no models: which ones a waiting session gets is not decided yet")
    return limit.to_json()


def _hosts(name: str, value: object) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for host, rights in _object(name, value).items():
        if not isinstance(rights, list) or any(right not in RIGHTS for right in cast("list[object]", rights)):
            raise InvalidParametersError(f"{name}: the rights on {host} are a list of {', '.join(RIGHTS)}")
        hosts[host] = list(dict.fromkeys(cast("list[str]", rights)))
    return hosts


def _object(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidParametersError(f"{name} is an object in JSON")
    return cast("dict[str, object]", value)


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "default_for_unspecified": _default,
    "total_resource_slots": _slots,
    "max_session_lifetime": _number,
    "max_concurrent_sessions": _number,
    "max_concurrent_sftp_sessions": _number,
    "max_containers_per_session": _positive,
    "idle_timeout": _seconds,
    "allowed_vfolder_hosts": _hosts,
    "max_pending_session_count": _number,
    "max_pending_session_resource_slots": _pending_slots,
}
_NULLABLE = frozenset({"max_pending_session_count", "max_pending_session_resource_slots"})
