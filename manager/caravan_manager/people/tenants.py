"""What administrators may write into domains, projects and keypairs: each value is checked before it is kept. Pure."""

import re
from collections.abc import Mapping
from functools import partial

from caravan_common.errors import InvalidParametersError
from caravan_manager.checks import Check, Values, checked, flag, positive, text
from caravan_manager.quotas.policies import hosts, slots

LONGEST_NAME = 64
_SLUG = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?")


def checked_domain(given: Mapping[str, object]) -> Values:
    """Return the columns of a domain that are given, each checked; None leaves one as it is.

    Raises InvalidParametersError, also for what is of Backend.AI and not kept here.
    """
    _refuse(given, _NOT_OF_DOMAINS)
    return checked(given, _OF_DOMAINS)


def checked_project(given: Mapping[str, object]) -> Values:
    """Return the columns of a project that are given, each checked; None leaves one as it is.

    Raises InvalidParametersError, also for what is of Backend.AI and not kept here.
    """
    _refuse(given, _NOT_OF_PROJECTS)
    return checked(given, _OF_PROJECTS)


def checked_keypair(given: Mapping[str, object]) -> Values:
    """Return the columns of a keypair that are given, each checked; None leaves one as it is.

    Raises InvalidParametersError, also for what is of Backend.AI and not kept here.
    """
    _refuse(given, _NOT_OF_KEYPAIRS)
    return checked(given, _OF_KEYPAIRS)


def _refuse(given: Mapping[str, object], others: Mapping[str, str]) -> None:
    """Raise for a value that nobody would look at; an empty object is what the schema has where none is given."""
    for name, why in others.items():
        if given.get(name) not in (None, {}):
            raise InvalidParametersError(f"{name}: {why}")


def _project_name(name: str, value: object) -> str:
    written = text(name, value, LONGEST_NAME)
    if not _SLUG.fullmatch(written):
        raise InvalidParametersError(f"{name}: {written!r} has other characters than letters, digits and . _ - inside")
    return written


_OF_BOTH: dict[str, Check] = {
    "description": text,
    "is_active": flag,
    "total_resource_slots": slots,
    "allowed_vfolder_hosts": hosts,
    "integration_id": partial(text, longest=512),
}
_OF_DOMAINS = _OF_BOTH
_OF_PROJECTS: dict[str, Check] = _OF_BOTH | {"name": _project_name, "resource_policy": partial(text, longest=256)}
_OF_KEYPAIRS: dict[str, Check] = {
    "resource_policy": partial(text, longest=256),
    "is_active": flag,
    "is_admin": flag,
    "rate_limit": positive,
}
_NOT_OF_DOMAINS = {
    "name": "a domain keeps its name",
    "allowed_docker_registries": "which images a domain may use is not limited yet",
}
_NOT_OF_PROJECTS = {
    "domain_name": "a project stays in its domain",
    "user_update_mode": "who belongs to a project cannot be changed here yet",
    "user_uuids": "who belongs to a project cannot be changed here yet",
    "container_registry": "a project has no registry of its own yet",
}
_NOT_OF_KEYPAIRS = {"concurrency_limit": "max_concurrent_sessions of the keypair's resource policy says it"}
