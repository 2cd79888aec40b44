"""Keypairs, users, projects and domains in GraphQL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ariadne import ObjectType

from caravan_manager.api.graphql.base import (
    ALL,
    Asked,
    Info,
    Listed,
    Once,
    Page,
    as_uuid,
    bind,
    nothing,
    outcome,
    payload,
    words,
)
from caravan_manager.people.model import Domain, Keypair, Project, User, UserStatus

queries = ObjectType("Queries")
mutations = ObjectType("Mutations")


@dataclass(frozen=True, slots=True)
class KeypairRow:
    """A keypair, and what its fields load for the whole list."""

    keypair: Keypair
    secrets: Once[dict[str, str]]
    projects: Once[dict[UUID, list[Project]]]
    live_sessions: Once[dict[str, int]]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user, and what the fields load for the whole list."""

    user: User
    projects: Once[dict[UUID, list[Project]]]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A project (the protocol's group), and the scaling groups that are open to each project of the list."""

    project: Project
    scaling_groups: Once[dict[UUID, list[str]]]


@queries.field("keypair")
async def keypair(_: object, info: Info, domain_name: str | None = None, access_key: str | None = None) -> object:
    """Answer the caller's own keypair, or the one named."""
    found = await info.context.people.keypair(info.context.principal, access_key)
    if found is None or domain_name not in {None, found.domain_name}:
        return None
    return _keypair_rows(info.context, [found])[0]


@queries.field("keypairs")
async def keypairs(
    _: object, info: Info, domain_name: str | None = None, email: str | None = None, is_active: bool | None = None
) -> object:
    """Answer the keypairs that the caller may see."""
    asked = info.context
    found, _count = await asked.people.keypairs(
        asked.principal, domain=domain_name, email=email, is_active=is_active, limit=ALL, offset=0
    )
    return _keypair_rows(asked, found)


@queries.field("keypair_list")
async def keypair_list(
    _: object,
    info: Info,
    limit: int,
    offset: int,
    domain_name: str | None = None,
    email: str | None = None,
    is_active: bool | None = None,
    **language: str | None,
) -> object:
    """Answer a page of the keypairs that the caller may see."""
    asked, page = info.context, Page.of(limit, offset, language)
    found, total = await asked.people.keypairs(
        asked.principal,
        domain=domain_name,
        email=email,
        is_active=is_active,
        limit=page.limit,
        offset=page.offset,
        choice=page.choice,
    )
    return Listed(_keypair_rows(asked, found), total)


@queries.field("user")
async def user(_: object, info: Info, domain_name: str | None = None, email: str | None = None) -> object:
    """Answer the caller, or the user with this email address."""
    found = await info.context.people.user(info.context.principal, email=email, user_id=None)
    return _user_row_of_domain(info.context, found, domain_name)


@queries.field("user_from_uuid")
async def user_from_uuid(_: object, info: Info, domain_name: str | None = None, user_id: str | None = None) -> object:
    """Answer the caller, or the user with this ID."""
    wanted = None if user_id is None else as_uuid(user_id)
    found = await info.context.people.user(info.context.principal, email=None, user_id=wanted)
    return _user_row_of_domain(info.context, found, domain_name)


@queries.field("users")
async def users(
    _: object,
    info: Info,
    domain_name: str | None = None,
    group_id: UUID | None = None,
    is_active: bool | None = None,
    status: str | None = None,
) -> object:
    """Answer the users that the caller administrates."""
    asked = info.context
    found, _count = await asked.people.users(
        asked.principal,
        domain=domain_name,
        project=group_id,
        statuses=_statuses(status, is_active),
        limit=ALL,
        offset=0,
    )
    return _user_rows(asked, found)


@queries.field("user_list")
async def user_list(
    _: object,
    info: Info,
    limit: int,
    offset: int,
    domain_name: str | None = None,
    group_id: UUID | None = None,
    is_active: bool | None = None,
    status: str | None = None,
    **language: str | None,
) -> object:
    """Answer a page of the users that the caller administrates."""
    asked, page = info.context, Page.of(limit, offset, language)
    found, total = await asked.people.users(
        asked.principal,
        domain=domain_name,
        project=group_id,
        statuses=_statuses(status, is_active),
        limit=page.limit,
        offset=page.offset,
        choice=page.choice,
    )
    return Listed(_user_rows(asked, found), total)


@queries.field("domain")
async def domain(_: object, info: Info, name: str | None = None) -> object:
    """Answer one domain, by default the caller's."""
    asked = info.context
    wanted = name or asked.principal.domain_name
    return next((d for d in await asked.people.domains(asked.principal, name=wanted) if d.name == wanted), None)


@queries.field("domains")
async def domains(_: object, info: Info, is_active: bool | None = None) -> object:
    """Answer the domains that the caller may see."""
    return await info.context.people.domains(info.context.principal, is_active=is_active)


@queries.field("group")
async def group(
    _: object,
    info: Info,
    id: UUID,  # noqa: A002
    domain_name: str | None = None,
    **kinds: Sequence[str | None] | None,
) -> object:
    """Answer one project, if the caller may see it."""
    found = await info.context.people.projects(info.context.principal, domain=domain_name, project=id)
    return next(iter(_group_rows(info.context, _of_kinds(found, kinds.get("type")))), None)


@queries.field("groups")
async def groups(
    _: object,
    info: Info,
    domain_name: str | None = None,
    is_active: bool | None = None,
    **kinds: Sequence[str | None] | None,
) -> object:
    """Answer the projects that the caller may see, of the kinds asked for."""
    found = await info.context.people.projects(info.context.principal, domain=domain_name, is_active=is_active)
    return _group_rows(info.context, _of_kinds(found, kinds.get("type")))


@queries.field("groups_by_name")
async def groups_by_name(_: object, info: Info, name: str, domain_name: str | None = None) -> object:
    """Answer the projects of one name."""
    found = await info.context.people.projects(info.context.principal, domain=domain_name, name=name)
    return _group_rows(info.context, found)


@mutations.field("modify_domain")
async def modify_domain(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
    """Change a domain; what is absent or null stays as it is."""
    return await outcome(info, info.context.people_admin.change_domain(info.context.principal, name, props), "domain")


@mutations.field("modify_group")
async def modify_group(_: object, info: Info, gid: UUID, props: dict[str, Any]) -> object:
    """Change a project; what is absent or null stays as it is."""
    asked = info.context

    async def changed() -> GroupRow:
        return _group_rows(asked, [await asked.people_admin.change_project(asked.principal, gid, props)])[0]

    return await outcome(info, changed(), "group")


@mutations.field("modify_keypair")
async def modify_keypair(_: object, info: Info, access_key: str, props: dict[str, Any]) -> object:
    """Change a keypair; what is absent or null stays as it is."""
    asked = info.context
    return await outcome(info, asked.people_admin.change_keypair(asked.principal, access_key, props))


def _keypair_rows(asked: Asked, found: list[Keypair]) -> list[KeypairRow]:
    async def secrets() -> dict[str, str]:
        return await asked.people.secret_keys(asked.principal, found)

    async def live_sessions() -> dict[str, int]:
        return await asked.sessions.live_counts([keypair.access_key for keypair in found])

    secret, live = Once(secrets), Once(live_sessions)
    projects = _projects_of(asked, [keypair.user_id for keypair in found])
    return [KeypairRow(keypair, secret, projects, live) for keypair in found]


def _user_rows(asked: Asked, found: list[User]) -> list[UserRow]:
    projects = _projects_of(asked, [user.id for user in found])
    return [UserRow(user, projects) for user in found]


def _user_row_of_domain(asked: Asked, found: User, domain_name: str | None) -> UserRow | None:
    return _user_rows(asked, [found])[0] if domain_name in {None, found.domain_name} else None


def _group_rows(asked: Asked, found: list[Project]) -> list[GroupRow]:
    async def load() -> dict[UUID, list[str]]:
        return await asked.nodes.open_to_projects([project.id for project in found])

    scaling_groups = Once(load)
    return [GroupRow(project, scaling_groups) for project in found]


def _projects_of(asked: Asked, members: list[UUID]) -> Once[dict[UUID, list[Project]]]:
    async def load() -> dict[UUID, list[Project]]:
        return await asked.people.projects_of_users(list(dict.fromkeys(members)))

    return Once(load)


def _statuses(status: str | None, is_active: bool | None) -> list[str] | None:
    """Return the statuses that the newer argument names, or those that the older one means."""
    if status is not None or is_active is None:
        return words(status)
    return [s.value for s in UserStatus if (s is UserStatus.ACTIVE) == is_active]


def _of_kinds(found: list[Project], kinds: Sequence[str | None] | None) -> list[Project]:
    return found if kinds is None else [project for project in found if project.type in kinds]


async def _secret_key(row: KeypairRow) -> str | None:
    return (await row.secrets.get()).get(row.keypair.access_key)


async def _project_names(row: KeypairRow) -> list[str]:
    return [project.name for project in (await row.projects.get())[row.keypair.user_id]]


async def _live_sessions(row: KeypairRow) -> int:
    return (await row.live_sessions.get()).get(row.keypair.access_key, 0)


async def _scaling_groups(row: GroupRow) -> list[str]:
    return (await row.scaling_groups.get()).get(row.project.id, [])


async def _projects(row: UserRow) -> list[Project]:
    return (await row.projects.get())[row.user.id]


KEYPAIR: dict[str, Callable[[KeypairRow], object]] = {
    "id": lambda row: row.keypair.access_key,
    "user_id": lambda row: row.keypair.email,
    "full_name": lambda row: row.keypair.full_name,
    "access_key": lambda row: row.keypair.access_key,
    "secret_key": _secret_key,
    "is_active": lambda row: row.keypair.is_active,
    "is_admin": lambda row: row.keypair.is_admin,
    "resource_policy": lambda row: row.keypair.resource_policy,
    "created_at": lambda row: row.keypair.created_at,
    "last_used": lambda row: row.keypair.last_used,
    "rate_limit": lambda row: row.keypair.rate_limit,
    "num_queries": lambda row: row.keypair.num_queries,
    "rolling_count": nothing,
    "user": lambda row: row.keypair.user_id,
    "projects": _project_names,
    "ssh_public_key": lambda row: row.keypair.ssh_public_key,
    "vfolders": nothing,
    "compute_sessions": nothing,
    "concurrency_used": _live_sessions,
    "user_info": lambda row: row.keypair,
    "concurrency_limit": nothing,
}

USER_INFO: dict[str, Callable[[Keypair], object]] = {
    "email": lambda keypair: keypair.email,
    "full_name": lambda keypair: keypair.full_name,
}

USER: dict[str, Callable[[UserRow], object]] = {
    "id": lambda row: str(row.user.id),
    "uuid": lambda row: row.user.id,
    "username": lambda row: row.user.username,
    "email": lambda row: row.user.email,
    "need_password_change": lambda row: row.user.need_password_change,
    "full_name": lambda row: row.user.full_name,
    "description": lambda row: row.user.description,
    "is_active": lambda row: row.user.status is UserStatus.ACTIVE,
    "status": lambda row: row.user.status.value,
    "status_info": lambda row: row.user.status_info,
    "created_at": lambda row: row.user.created_at,
    "modified_at": lambda row: row.user.modified_at,
    "domain_name": lambda row: row.user.domain_name,
    "role": lambda row: row.user.role.value,
    "resource_policy": lambda row: row.user.resource_policy,
    "allowed_client_ip": lambda row: row.user.allowed_client_ip,
    "totp_activated": lambda row: row.user.totp_activated,
    "totp_activated_at": nothing,
    "sudo_session_enabled": lambda row: row.user.sudo_session_enabled,
    "main_access_key": lambda row: row.user.main_access_key,
    "container_uid": nothing,
    "container_main_gid": nothing,
    "container_gids": nothing,
    "groups": _projects,
}

USER_GROUP: dict[str, Callable[[Project], object]] = {
    "id": lambda project: project.id,
    "name": lambda project: project.name,
}

DOMAIN: dict[str, Callable[[Domain], object]] = {
    "name": lambda domain: domain.name,
    "description": lambda domain: domain.description,
    "is_active": lambda domain: domain.is_active,
    "created_at": lambda domain: domain.created_at,
    "modified_at": lambda domain: domain.modified_at,
    "total_resource_slots": lambda domain: domain.total_resource_slots,
    "allowed_vfolder_hosts": lambda domain: domain.allowed_vfolder_hosts,
    "allowed_docker_registries": lambda domain: domain.allowed_docker_registries,
    "integration_id": lambda domain: domain.integration_id,
    "scaling_groups": lambda domain: domain.scaling_groups,
}

GROUP: dict[str, Callable[[GroupRow], object]] = {
    "id": lambda row: row.project.id,
    "name": lambda row: row.project.name,
    "description": lambda row: row.project.description,
    "is_active": lambda row: row.project.is_active,
    "created_at": lambda row: row.project.created_at,
    "modified_at": lambda row: row.project.modified_at,
    "domain_name": lambda row: row.project.domain_name,
    "total_resource_slots": lambda row: row.project.total_resource_slots,
    "allowed_vfolder_hosts": lambda row: row.project.allowed_vfolder_hosts,
    "integration_id": lambda row: row.project.integration_id,
    "resource_policy": lambda row: row.project.resource_policy,
    "type": lambda row: row.project.type,
    "container_registry": lambda _: {},
    "scaling_groups": _scaling_groups,
}

BINDABLES = [
    queries,
    mutations,
    bind("KeyPair", KEYPAIR),
    bind("UserInfo", USER_INFO),
    bind("User", USER),
    bind("UserGroup", USER_GROUP),
    bind("Domain", DOMAIN),
    bind("Group", GROUP),
    payload("ModifyDomain", "domain"),
    payload("ModifyGroup", "group"),
    payload("ModifyKeyPair"),
]
