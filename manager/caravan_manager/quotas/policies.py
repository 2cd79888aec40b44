"""What a superadmin may write into resource policies: each value is checked before it is kept. Pure."""

from collections.abc import Mapping
from typing import cast

from caravan_common.errors import InvalidParametersError, NotFoundError
from caravan_manager.checks import Check, Values, checked, is_kept, json_object, number, of_one, positive
from caravan_manager.names import is_name
from caravan_manager.quotas.model import PolicyKind, SlotLimit
from caravan_manager.vfolders.model import HostRight

LONGEST_NAME = 256
DEFAULTS = frozenset({"LIMITED", "UNLIMITED"})
RIGHTS = (*HostRight, "invite-others", "set-user-specific-permission", "set-user-perm", "clone-vfolder")
"""Those that clients of Backend.AI send unasked, 26.9 with names of its own; nobody looks at the last four yet."""


class PolicyNotFoundError(NotFoundError):
    """There is no policy of this name."""

    object_name = "resource policy"


def check_policy_name(name: str) -> str:
    """Return the name of a new policy. Raises InvalidParametersError."""
    if not is_name(name, LONGEST_NAME):
        raise InvalidParametersError(f"{name[:LONGEST_NAME]!r} cannot be the name of a policy")
    return name


def check_known_policy(name: str) -> str:
    """Return the name of a policy that should be there. Raises InvalidParametersError for what can be none."""
    return of_one("the name of a policy", name, LONGEST_NAME)


def checked_policy(kind: PolicyKind, given: Mapping[str, object]) -> Values:
    """Return the columns that are given of a policy, each checked; None leaves one as it is, or lifts a queue's limit.

    Raises InvalidParametersError.
    """
    return checked(given, _CHECKS[kind], _NULLABLE)


def _default(name: str, value: object) -> object:
    if value not in DEFAULTS:
        raise InvalidParametersError(f"{name} is LIMITED or UNLIMITED, not {value!r}")
    return value


def _seconds(name: str, value: object) -> int:
    return number(name, value, most=2**53)


def slots(name: str, value: object) -> dict[str, str]:
    """Check for limits of slots, and of slots on devices of one model."""
    return SlotLimit.parse(json_object(name, value)).to_json()


def _pending_slots(name: str, value: object) -> dict[str, str]:
    limit = SlotLimit.parse(json_object(name, value))
    if limit.models:
        raise InvalidParametersError(f"{name} knows no models: which ones a waiting session gets is not decided yet")
    return limit.to_json()


def hosts(name: str, value: object) -> dict[str, list[str]]:
    """Check for rights on storage hosts: a list of them for each host."""
    found: dict[str, list[str]] = {}
    for host, rights in json_object(name, value).items():
        if not is_kept(host):
            raise InvalidParametersError(f"{name}: {host!r} cannot be the name of a host")
        if not isinstance(rights, list) or any(right not in RIGHTS for right in cast("list[object]", rights)):
            raise InvalidParametersError(f"{name}: the rights on {host} are a list of {', '.join(RIGHTS)}")
        found[host] = list(dict.fromkeys(cast("list[str]", rights)))
    return found


def _bytes(name: str, value: object) -> int:
    return number(name, value, least=-1, most=2**53)


def _or_any(name: str, value: object) -> int:
    return number(name, value, least=-1)


_OF_KEYPAIRS: dict[str, Check] = {
    "default_for_unspecified": _default,
    "total_resource_slots": slots,
    "max_session_lifetime": number,
    "max_concurrent_sessions": number,
    "max_concurrent_sftp_sessions": number,
    "max_containers_per_session": positive,
    "idle_timeout": _seconds,
    "allowed_vfolder_hosts": hosts,
    "max_pending_session_count": number,
    "max_pending_session_resource_slots": _pending_slots,
}
_OF_USERS: dict[str, Check] = {
    "max_vfolder_count": number,
    "max_quota_scope_size": _bytes,
    "max_session_count_per_model_session": number,
    "max_customized_image_count": number,
}
_OF_PROJECTS: dict[str, Check] = {
    "max_vfolder_count": number,
    "max_quota_scope_size": _bytes,
    "max_network_count": _or_any,
}
_CHECKS = {PolicyKind.KEYPAIR: _OF_KEYPAIRS, PolicyKind.USER: _OF_USERS, PolicyKind.PROJECT: _OF_PROJECTS}
_NULLABLE = frozenset({"max_pending_session_count", "max_pending_session_resource_slots"})
