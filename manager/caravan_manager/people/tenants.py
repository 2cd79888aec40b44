"""What administrators may write into domains, projects and keypairs: each value is checked before it is kept. Pure."""

import re
from collections.abc import Mapping
from functools import partial

from caravan_common.errors import InvalidParametersError
from caravan_manager.checks import Check, Values, checked, flag, of_one, positive, text
from caravan_manager.people.model import Domain, Keypair, Principal, Project, SuperadminsOnlyError
from caravan_manager.quotas.policies import hosts, slots

LONGEST_NAME = 64
LONGEST_ACCESS_KEY = 20
_EMPTY: tuple[object, ...] = (None, "", [], {})
"""What forms send where nothing is given."""
_SLUG = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?")


def check_domain_name(name: str) -> str:
    """Return the name of a domain that should be there. Raises InvalidParametersError for what can be none."""
    return of_one("the name of a domain", name, LONGEST_NAME)


def check_access_key(access_key: str) -> str:
    """Return the access key of a keypair that should be there. Raises InvalidParametersError for what can be none."""
    return of_one("an access key", access_key, LONGEST_ACCESS_KEY)


def checked_domain(given: Mapping[str, object], present: Domain) -> Values:
    """Return the columns of a domain that are given, each checked; None leaves one as it is.

    Raises InvalidParametersError, also for what is of Backend.AI and not kept here, unless it is as it was.
    """
    as_it_was = {"name": present.name, "allowed_docker_registries": list(present.allowed_docker_registries)}
    _refuse(given, _NOT_OF_DOMAINS, as_it_was)
    return checked(given, _OF_DOMAINS)


def checked_project(principal: Principal, given: Mapping[str, object], present: Project) -> Values:
    """Return the columns of a project that are given, each checked; None leaves one as it is.

    Raises SuperadminsOnlyError, and InvalidParametersError, also for what is of Backend.AI and not kept here, unless
    it is as it was.
    """
    _refuse(given, _NOT_OF_PROJECTS, {"domain_name": present.domain_name})
    if given.get("name") == present.name:
        given = {name: value for name, value in given.items() if name != "name"}
    values = checked(given, _OF_PROJECTS)
    as_it_was = {"allowed_vfolder_hosts": present.allowed_vfolder_hosts, "resource_policy": present.resource_policy}
    for name, value in as_it_was.items():
        if not principal.is_superadmin and values.get(name, value) != value:
            raise SuperadminsOnlyError(f"{name}: only superadmins change it")
    return values


def checked_keypair(given: Mapping[str, object], present: Keypair) -> Values:
    """Return the columns of a keypair that are given, each checked; None leaves one as it is.

    Raises InvalidParametersError, also for what is of Backend.AI and not kept here, and for `is_admin` against the
    role of the keypair's user, from which all rights come, unless it is as it was.
    """
    _refuse(given, _NOT_OF_KEYPAIRS, {})
    values = checked(given, _OF_KEYPAIRS)
    if values.get("is_admin", present.is_admin) not in {present.is_admin, present.role.is_admin}:
        raise InvalidParametersError(
            f"is_admin: a keypair has the rights of its user, and the role of {present.email} is {present.role.value}"
        )
    return values


def _refuse(given: Mapping[str, object], others: Mapping[str, str], as_it_was: Mapping[str, object]) -> None:
    """Raise for a value that nobody would look at, unless it is empty or what there is: forms send all they show."""
    for name, why in others.items():
        value = given.get(name)
        if value not in _EMPTY and (name not in as_it_was or value != as_it_was[name]):
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
