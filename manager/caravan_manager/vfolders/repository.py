"""The SQL of virtual folders. Each function takes the open transaction and returns values."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, literal, or_, select

from caravan_common.errors import ConflictError
from caravan_common.states import FolderPermission, FolderStatus
from caravan_manager.db.choice import (
    EVERYTHING,
    Choice,
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
from caravan_manager.db.engine import Transaction
from caravan_manager.db.tables import (
    domains,
    keypair_resource_policies,
    project_members,
    project_resource_policies,
    projects,
    sessions,
    user_resource_policies,
    users,
    vfolders,
)
from caravan_manager.people.model import Principal
from caravan_manager.sessions.repository import LIVE as LIVE_SESSION
from caravan_manager.vfolders.model import (
    DELETED,
    GONE,
    Host,
    UsageMode,
    VFolder,
    VFolderNotFoundError,
    merge_rights,
)

_NOT_COMPLETE = vfolders.c.status != FolderStatus.DELETE_COMPLETE.value
FIELDS: Fields = {
    "id": identity(vfolders.c.id),
    "host": text(vfolders.c.host),
    "quota_scope_id": text(vfolders.c.quota_scope_id),
    "name": text(vfolders.c.name),
    "group": identity(vfolders.c.project_id),
    "group_name": text(projects.c.name),
    "user": identity(vfolders.c.user_id),
    "user_email": text(users.c.email),
    "creator": text(vfolders.c.creator),
    "domain_name": text(vfolders.c.domain_name),
    "usage_mode": word(vfolders.c.usage_mode, UsageMode),
    "permission": word(vfolders.c.permission, FolderPermission),
    "ownership_type": text(vfolders.c.ownership_type),
    "max_files": number(vfolders.c.max_files),
    "max_size": number(vfolders.c.max_size),
    "created_at": moment(vfolders.c.created_at),
    "last_used": moment(vfolders.c.last_used),
    "cloneable": flag(vfolders.c.cloneable),
    "status": word(vfolders.c.status, FolderStatus),
}
"""What lists of folders can be filtered and ordered by."""


def _folders() -> Select[Any]:
    return (
        select(vfolders, users.c.email.label("user_email"), projects.c.name.label("project_name"))
        .outerjoin_from(vfolders, users, vfolders.c.user_id == users.c.id)
        .outerjoin(projects, vfolders.c.project_id == projects.c.id)
    )


def _folder(row: Row[Any]) -> VFolder:
    return VFolder(
        id=row.id,
        host=Host.parse(row.host),
        quota_scope_id=row.quota_scope_id,
        name=row.name,
        domain_name=row.domain_name,
        user_id=row.user_id,
        project_id=row.project_id,
        creator=row.creator,
        usage_mode=UsageMode(row.usage_mode),
        permission=FolderPermission(row.permission),
        cloneable=row.cloneable,
        status=FolderStatus(row.status),
        max_files=row.max_files,
        max_size=row.max_size,
        created_at=row.created_at,
        last_used=row.last_used,
        status_changed=row.status_changed,
        user_email=row.user_email,
        project_name=row.project_name,
    )


def _projects_of(principal: Principal) -> Select[Any]:
    """The projects whose folders the caller sees: those of the domain for its administrators, else the caller's."""
    if principal.is_admin:
        return select(projects.c.id).where(projects.c.domain_name == principal.domain_name)
    return (
        select(projects.c.id)
        .join(project_members)
        .where(project_members.c.user_id == principal.user_id, projects.c.is_active)
    )


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Choose the folders that the caller can use: the caller's own, and those of the caller's projects."""
    return or_(vfolders.c.user_id == principal.user_id, vfolders.c.project_id.in_(_projects_of(principal)))


def administrated_by(principal: Principal) -> ColumnElement[bool]:
    """Choose the folders that the caller can use or, as an administrator, look after."""
    if principal.is_superadmin:
        return literal(value=True)
    if principal.is_admin:
        return or_(visible_to(principal), vfolders.c.domain_name == principal.domain_name)
    return visible_to(principal)


def owned_by(principal: Principal) -> ColumnElement[bool]:
    """Choose the caller's own folders."""
    return vfolders.c.user_id == principal.user_id


def in_projects_of(principal: Principal) -> ColumnElement[bool]:
    """Choose the folders of the caller's projects."""
    return vfolders.c.project_id.in_(_projects_of(principal))


async def get_by_id(
    tx: Transaction, scope: ColumnElement[bool], folder_id: UUID, *, lock: bool = False, complete: bool = False
) -> VFolder:
    """Return one folder of the scope; ``complete`` also finds one whose files are gone. Raises VFolderNotFoundError.

    ``lock`` keeps the row from changing until the transaction ends.
    """
    wanted = _folders().where(scope, vfolders.c.id == folder_id)
    if not complete:
        wanted = wanted.where(_NOT_COMPLETE)
    if lock:
        wanted = wanted.with_for_update(of=vfolders)
    row = (await tx.execute(wanted)).one_or_none()
    if row is None:
        raise VFolderNotFoundError(data=folder_id.hex)
    return _folder(row)


async def list_by_name(tx: Transaction, scope: ColumnElement[bool], name: str, limit: int = 100) -> list[VFolder]:
    """Return the folders of the scope that have the name, live ones first, then latest first."""
    is_deleted = vfolders.c.status.in_([status.value for status in DELETED])
    wanted = _folders().where(scope, vfolders.c.name == name, _NOT_COMPLETE)
    wanted = wanted.order_by(is_deleted, vfolders.c.status_changed.desc()).limit(limit)
    return [_folder(row) for row in await tx.execute(wanted)]


async def hold(tx: Transaction, folder_ids: Sequence[UUID]) -> None:
    """Keep folders from being trashed until the transaction ends; others may hold them, too."""
    wanted = select(vfolders.c.id).where(vfolders.c.id.in_(folder_ids)).order_by(vfolders.c.id)
    await tx.execute(wanted.with_for_update(read=True))


async def list_page(
    tx: Transaction,
    scope: ColumnElement[bool],
    project: UUID | None,
    limit: int,
    offset: int,
    choice: Choice = EVERYTHING,
) -> tuple[list[VFolder], int]:
    """Return a page of the scope's folders, newest first, and how many there are in all.

    With a project, folders of other projects are left out.
    """
    wanted = _folders().where(scope, _NOT_COMPLETE, *conditions(choice, FIELDS))
    if project is not None:
        wanted = wanted.where(or_(vfolders.c.project_id == project, vfolders.c.project_id.is_(None)))
    total = await tx.scalar(wanted.with_only_columns(func.count()))
    wanted = wanted.order_by(*ordering(choice, FIELDS, vfolders.c.created_at.desc(), vfolders.c.id))
    return [_folder(row) for row in await tx.execute(wanted.limit(limit).offset(offset))], total or 0


async def add(tx: Transaction, folder: VFolder) -> None:
    """Insert a new folder. The live name's unique index raises IntegrityError."""
    await tx.execute(
        vfolders.insert().values(
            id=folder.id,
            host=str(folder.host),
            quota_scope_id=folder.quota_scope_id,
            name=folder.name,
            domain_name=folder.domain_name,
            user_id=folder.user_id,
            project_id=folder.project_id,
            creator=folder.creator,
            ownership_type=folder.ownership_type,
            usage_mode=folder.usage_mode.value,
            permission=folder.permission.value,
            cloneable=folder.cloneable,
            status=folder.status.value,
            max_files=folder.max_files,
            max_size=folder.max_size,
            created_at=folder.created_at,
            last_used=folder.last_used,
            status_changed=folder.status_changed,
        )
    )


async def save(tx: Transaction, before: VFolder, after: VFolder) -> None:
    """Record a move, guarded by the status that was read. Raises ConflictError when somebody else moved first.

    The live name's unique index raises IntegrityError.
    """
    guard = (vfolders.c.id == before.id) & (vfolders.c.status == before.status.value)
    values = {"name": after.name, "status": after.status.value, "status_changed": after.status_changed}
    done = await tx.execute(vfolders.update().where(guard).values(**values))
    if done.rowcount != 1:
        raise ConflictError(f"folder {before.name} changed meanwhile; try again", id=before.id.hex)


async def remove(tx: Transaction, folder: VFolder) -> None:
    """Forget a folder whose files are gone."""
    await tx.execute(vfolders.delete().where(vfolders.c.id == folder.id, vfolders.c.status == folder.status.value))


async def lock_owner(tx: Transaction, folder: VFolder) -> int:
    """Return how many folders the owner may have (0: any number), one transaction at a time for each owner."""
    if folder.project_id is None:
        wanted = (
            select(user_resource_policies.c.max_vfolder_count)
            .join_from(users, user_resource_policies)
            .where(users.c.id == folder.user_id)
            .with_for_update(of=users, key_share=True)
        )
    else:
        wanted = (
            select(project_resource_policies.c.max_vfolder_count)
            .join_from(projects, project_resource_policies)
            .where(projects.c.id == folder.project_id)
            .with_for_update(of=projects, key_share=True)
        )
    return await tx.scalar(wanted) or 0


async def count_kept(tx: Transaction, quota_scope_id: str) -> int:
    """Return how many folders an owner has, those in the trash included."""
    kept = vfolders.c.status.not_in([status.value for status in GONE])
    wanted = select(func.count()).select_from(vfolders).where(kept, vfolders.c.quota_scope_id == quota_scope_id)
    return await tx.scalar(wanted) or 0


async def name_is_live(tx: Transaction, principal: Principal, name: str) -> bool:
    """Say whether a live folder that the caller sees has the name."""
    live = vfolders.c.status.not_in([status.value for status in DELETED])
    wanted = select(vfolders.c.id).where(visible_to(principal), live, vfolders.c.name == name).limit(1)
    return await tx.scalar(wanted) is not None


async def list_sessions_with(tx: Transaction, folder_id: UUID, limit: int = 10) -> list[UUID]:
    """Return live sessions that have the folder mounted."""
    mounted = sessions.c.mounts.contains([{"folder": str(folder_id)}])
    return list((await tx.scalars(select(sessions.c.id).where(LIVE_SESSION, mounted).limit(limit))).all())


async def host_rights(tx: Transaction, principal: Principal, project: UUID | None) -> dict[str, frozenset[str]]:
    """Return what the caller may do on each host: by the domain, the keypair's policy, and the projects.

    With a project only that one counts, without one all of the caller's.
    """
    chosen = projects.c.id == project if project is not None else projects.c.id.in_(_projects_of(principal))
    sources = [
        select(domains.c.allowed_vfolder_hosts).where(domains.c.name == principal.domain_name),
        select(keypair_resource_policies.c.allowed_vfolder_hosts).where(
            keypair_resource_policies.c.name == principal.resource_policy
        ),
        select(projects.c.allowed_vfolder_hosts).where(chosen),
    ]
    return merge_rights([policy for source in sources for policy in await tx.scalars(source)])
