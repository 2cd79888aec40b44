"""The SQL of domains, projects, users and keypairs. Each function takes the open transaction and returns values."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select

from caravan_manager.checks import Values
from caravan_manager.db.choice import (
    EVERYTHING,
    Choice,
    Field,
    Fields,
    conditions,
    flag,
    identity,
    moment,
    number,
    ordering,
    text,
    word,
)
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import (
    domains,
    keypairs,
    project_members,
    projects,
    scaling_groups_of_domains,
    users,
)
from caravan_manager.people.model import (
    Credentials,
    Domain,
    Keypair,
    Login,
    Principal,
    Project,
    User,
    UserRole,
    UserStatus,
)

_CREDENTIALS = (
    select(
        keypairs.c.access_key,
        keypairs.c.secret_ciphertext,
        keypairs.c.is_active,
        keypairs.c.resource_policy,
        keypairs.c.rate_limit,
        users.c.id,
        users.c.email,
        users.c.username,
        users.c.role,
        users.c.status,
        users.c.allowed_client_ip,
        users.c.domain_name,
        users.c.resource_policy.label("user_resource_policy"),
        users.c.password_hash,
        users.c.password_changed_at,
    )
    .join_from(keypairs, users, keypairs.c.user_id == users.c.id)
    .join(domains, users.c.domain_name == domains.c.name)
    .where(domains.c.is_active)
)


def _in_project_named(named: ColumnElement[bool]) -> ColumnElement[bool]:
    """Choose the users who are in a project for whose name the condition holds."""
    members = select(project_members.c.user_id).join_from(project_members, projects).where(named)
    return users.c.id.in_(members)


KEYPAIR_FIELDS: Fields = {
    "access_key": text(keypairs.c.access_key),
    "user_id": text(users.c.email),
    "email": text(users.c.email),
    "full_name": text(users.c.full_name),
    "is_active": flag(keypairs.c.is_active),
    "is_admin": flag(keypairs.c.is_admin),
    "resource_policy": text(keypairs.c.resource_policy),
    "created_at": moment(keypairs.c.created_at),
    "last_used": moment(keypairs.c.last_used),
    "rate_limit": number(keypairs.c.rate_limit),
    "num_queries": number(keypairs.c.num_queries),
    "ssh_public_key": text(keypairs.c.ssh_public_key),
    "projects": Field(projects.c.name, text(projects.c.name).read, _in_project_named),
}
"""What lists of keypairs can be filtered and ordered by."""

USER_FIELDS: Fields = {
    "uuid": identity(users.c.id),
    "username": text(users.c.username),
    "email": text(users.c.email),
    "need_password_change": flag(users.c.need_password_change),
    "full_name": text(users.c.full_name),
    "description": text(users.c.description),
    "is_active": flag(users.c.status == UserStatus.ACTIVE.value),
    "status": word(users.c.status, UserStatus),
    "status_info": text(users.c.status_info),
    "created_at": moment(users.c.created_at),
    "modified_at": moment(users.c.modified_at),
    "domain_name": text(users.c.domain_name),
    "role": word(users.c.role, UserRole),
    "resource_policy": text(users.c.resource_policy),
    "totp_activated": flag(users.c.totp_activated),
    "sudo_session_enabled": flag(users.c.sudo_session_enabled),
    "main_access_key": text(users.c.main_access_key),
}
"""What lists of users can be filtered and ordered by."""


async def find_credentials(tx: Transaction, access_key: str) -> Credentials | None:
    """Return who owns the access key, or None."""
    row = (await tx.execute(_CREDENTIALS.where(keypairs.c.access_key == access_key))).one_or_none()
    return None if row is None else _credentials(row)


async def find_credentials_of_user(tx: Transaction, user: UUID) -> Credentials | None:
    """Return a user's main keypair with its owner, or None."""
    wanted = _CREDENTIALS.where(users.c.id == user, keypairs.c.access_key == users.c.main_access_key)
    row = (await tx.execute(wanted)).one_or_none()
    return None if row is None else _credentials(row)


async def find_login(tx: Transaction, domain: str, name: str) -> Login | None:
    """Return what the password of a user (email or user name) opens: the main keypair."""
    wanted = _CREDENTIALS.where(
        users.c.domain_name == domain,
        (users.c.email == name) | (users.c.username == name),
        keypairs.c.access_key == users.c.main_access_key,
    )
    row = (await tx.execute(wanted)).one_or_none()
    return None if row is None else Login(_credentials(row), row.password_hash, row.password_changed_at)


async def set_password_hash(tx: Transaction, user: UUID, password_hash: str) -> datetime:
    """Replace the hash of a user's password. Returns when."""
    changed = (
        users.update()
        .where(users.c.id == user)
        .values(password_hash=password_hash, need_password_change=False, password_changed_at=func.now())
        .returning(users.c.password_changed_at)
    )
    moment: datetime = (await tx.execute(changed)).scalar_one()
    return moment


async def set_full_name(tx: Transaction, user: UUID, full_name: str) -> None:
    """Give a user another name."""
    await tx.execute(users.update().where(users.c.id == user).values(full_name=full_name, modified_at=func.now()))


async def deactivate(tx: Transaction, user: UUID) -> None:
    """Make a user and all keypairs of theirs inactive."""
    gone = {"status": UserStatus.INACTIVE.value, "status_info": "user-signout", "modified_at": func.now()}
    await tx.execute(users.update().where(users.c.id == user).values(**gone))
    await tx.execute(
        keypairs.update().where(keypairs.c.user_id == user).values(is_active=False, modified_at=func.now())
    )


async def is_member(tx: Transaction, user: UUID, project: UUID) -> bool:
    """Say whether a user belongs to a project."""
    wanted = select(project_members.c.user_id).where(
        project_members.c.user_id == user, project_members.c.project_id == project
    )
    return (await tx.execute(wanted)).first() is not None


def _credentials(row: AnyRow) -> Credentials:
    principal = Principal(
        user_id=row.id,
        email=row.email,
        username=row.username,
        role=UserRole(row.role),
        domain_name=row.domain_name,
        access_key=row.access_key,
        resource_policy=row.resource_policy,
        user_resource_policy=row.user_resource_policy,
        rate_limit=row.rate_limit,
    )
    return Credentials(
        principal,
        row.secret_ciphertext,
        row.is_active,
        UserStatus(row.status),
        tuple(row.allowed_client_ip or ()),
    )


def _keypairs() -> Select[Any]:
    of_user = (users.c.email, users.c.full_name, users.c.role, users.c.domain_name)
    return select(keypairs, *of_user).join_from(keypairs, users)


def _keypair(row: AnyRow) -> Keypair:
    return Keypair(
        access_key=row.access_key,
        user_id=row.user_id,
        email=row.email,
        full_name=row.full_name,
        role=UserRole(row.role),
        domain_name=row.domain_name,
        secret_ciphertext=row.secret_ciphertext,
        is_active=row.is_active,
        is_admin=row.is_admin,
        resource_policy=row.resource_policy,
        rate_limit=row.rate_limit,
        num_queries=row.num_queries,
        ssh_public_key=row.ssh_public_key,
        created_at=row.created_at,
        last_used=row.last_used,
    )


async def find_keypair(tx: Transaction, access_key: str) -> Keypair | None:
    """Return one keypair, or None."""
    row = (await tx.execute(_keypairs().where(keypairs.c.access_key == access_key))).one_or_none()
    return None if row is None else _keypair(row)


async def list_keypairs(
    tx: Transaction,
    *,
    domain: str | None,
    email: str | None,
    is_active: bool | None,
    limit: int,
    offset: int,
    choice: Choice = EVERYTHING,
) -> tuple[list[Keypair], int]:
    """Return a page of keypairs, oldest first, and how many there are in all."""
    wanted = _keypairs().where(*conditions(choice, KEYPAIR_FIELDS))
    if domain is not None:
        wanted = wanted.where(users.c.domain_name == domain)
    if email is not None:
        wanted = wanted.where(users.c.email == email)
    if is_active is not None:
        wanted = wanted.where(keypairs.c.is_active == is_active)
    count = await tx.scalar(select(func.count()).select_from(wanted.subquery()))
    order = ordering(choice, KEYPAIR_FIELDS, keypairs.c.created_at, keypairs.c.access_key)
    page = wanted.order_by(*order).limit(limit).offset(offset)
    return [_keypair(row) for row in await tx.execute(page)], count or 0


def _user(row: AnyRow) -> User:
    return User(
        id=row.id,
        username=row.username,
        email=row.email,
        full_name=row.full_name,
        description=row.description,
        status=UserStatus(row.status),
        status_info=row.status_info,
        role=UserRole(row.role),
        domain_name=row.domain_name,
        resource_policy=row.resource_policy,
        need_password_change=row.need_password_change,
        main_access_key=row.main_access_key,
        allowed_client_ip=None if row.allowed_client_ip is None else tuple(row.allowed_client_ip),
        totp_activated=row.totp_activated,
        sudo_session_enabled=row.sudo_session_enabled,
        created_at=row.created_at,
        modified_at=row.modified_at,
    )


async def find_user(tx: Transaction, *, email: str | None = None, user_id: UUID | None = None) -> User | None:
    """Return one user by email address or by ID, or None."""
    wanted = select(users).where(users.c.email == email if email is not None else users.c.id == user_id)
    row = (await tx.execute(wanted)).one_or_none()
    return None if row is None else _user(row)


async def list_users(
    tx: Transaction,
    *,
    domain: str | None,
    project: UUID | None,
    statuses: Sequence[str] | None,
    limit: int,
    offset: int,
    choice: Choice = EVERYTHING,
) -> tuple[list[User], int]:
    """Return a page of users, oldest first, and how many there are in all."""
    wanted = select(users).where(*conditions(choice, USER_FIELDS))
    if domain is not None:
        wanted = wanted.where(users.c.domain_name == domain)
    if project is not None:
        members = select(project_members.c.user_id).where(project_members.c.project_id == project)
        wanted = wanted.where(users.c.id.in_(members))
    if statuses is not None:
        wanted = wanted.where(users.c.status.in_(statuses))
    count = await tx.scalar(select(func.count()).select_from(wanted.subquery()))
    order = ordering(choice, USER_FIELDS, users.c.created_at, users.c.id)
    page = wanted.order_by(*order).limit(limit).offset(offset)
    return [_user(row) for row in await tx.execute(page)], count or 0


def _project(row: AnyRow) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        domain_name=row.domain_name,
        description=row.description,
        is_active=row.is_active,
        type=row.type,
        created_at=row.created_at,
        modified_at=row.modified_at,
        total_resource_slots=row.total_resource_slots,
        allowed_vfolder_hosts=row.allowed_vfolder_hosts,
        integration_id=row.integration_id,
        resource_policy=row.resource_policy,
    )


async def list_projects(
    tx: Transaction,
    *,
    domain: str | None,
    member: UUID | None = None,
    name: str | None = None,
    project: UUID | None = None,
    is_active: bool | None = None,
    limit: int = 1000,
) -> list[Project]:
    """Return projects by domain, member, name or ID, by name."""
    wanted = select(projects)
    if domain is not None:
        wanted = wanted.where(projects.c.domain_name == domain)
    if member is not None:
        mine = select(project_members.c.project_id).where(project_members.c.user_id == member)
        wanted = wanted.where(projects.c.id.in_(mine))
    if name is not None:
        wanted = wanted.where(projects.c.name == name)
    if project is not None:
        wanted = wanted.where(projects.c.id == project)
    if is_active is not None:
        wanted = wanted.where(projects.c.is_active == is_active)
    return [_project(row) for row in await tx.execute(wanted.order_by(projects.c.name).limit(limit))]


async def lock_project(tx: Transaction, project: UUID, domain: str | None) -> Project | None:
    """Return a project, of one domain or whichever, that nobody else changes until the transaction ends, or None."""
    wanted = select(projects).where(projects.c.id == project)
    if domain is not None:
        wanted = wanted.where(projects.c.domain_name == domain)
    row = (await tx.execute(wanted.with_for_update())).one_or_none()
    return None if row is None else _project(row)


async def list_projects_of_users(tx: Transaction, members: Sequence[UUID]) -> dict[UUID, list[Project]]:
    """Return the projects of each of the users, with one query."""
    wanted = (
        select(projects, project_members.c.user_id)
        .join_from(projects, project_members)
        .where(project_members.c.user_id.in_(members))
        .order_by(projects.c.name)
    )
    found: dict[UUID, list[Project]] = {member: [] for member in members}
    for row in await tx.execute(wanted):
        found[row.user_id].append(_project(row))
    return found


async def list_domains(
    tx: Transaction, *, name: str | None = None, is_active: bool | None = None, limit: int = 1000
) -> list[Domain]:
    """Return domains by name, with the scaling groups that each may use."""
    groups = (
        select(func.coalesce(func.array_agg(scaling_groups_of_domains.c.scaling_group), []))
        .where(scaling_groups_of_domains.c.domain_name == domains.c.name)
        .scalar_subquery()
    )
    wanted = select(domains, groups.label("scaling_groups"))
    if name is not None:
        wanted = wanted.where(domains.c.name == name)
    if is_active is not None:
        wanted = wanted.where(domains.c.is_active == is_active)
    return [
        Domain(
            name=row.name,
            description=row.description,
            is_active=row.is_active,
            created_at=row.created_at,
            modified_at=row.modified_at,
            total_resource_slots=row.total_resource_slots,
            allowed_vfolder_hosts=row.allowed_vfolder_hosts,
            allowed_docker_registries=tuple(row.allowed_docker_registries),
            integration_id=row.integration_id,
            scaling_groups=tuple(sorted(row.scaling_groups)),
        )
        for row in await tx.execute(wanted.order_by(domains.c.name).limit(limit))
    ]


async def change_domain(tx: Transaction, name: str, values: Values) -> None:
    """Change some columns of a domain."""
    await tx.execute(domains.update().where(domains.c.name == name).values(**values, modified_at=func.now()))


async def change_project(tx: Transaction, project: UUID, values: Values) -> None:
    """Change some columns of a project. Raises IntegrityError for a taken name, and for a policy that is not there."""
    await tx.execute(projects.update().where(projects.c.id == project).values(**values, modified_at=func.now()))


async def change_keypair(tx: Transaction, access_key: str, values: Values) -> None:
    """Change some columns of a keypair. Raises IntegrityError for an unknown policy."""
    changed = keypairs.update().where(keypairs.c.access_key == access_key)
    await tx.execute(changed.values(**values, modified_at=func.now()))
