"""The SQL of quotas. Each function takes the open transaction and returns values."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Table, select

from caravan_common.slots import ResourceSlots
from caravan_manager.checks import Values
from caravan_manager.db.choice import (
    EVERYTHING,
    Choice,
    Fields,
    conditions,
    identity,
    number,
    ordering,
    text,
)
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import (
    domains,
    keypair_resource_policies,
    keypairs,
    project_members,
    project_resource_policies,
    projects,
    resource_presets,
    user_resource_policies,
    users,
)
from caravan_manager.quotas.model import (
    HolderKind,
    KeypairPolicy,
    PolicyKind,
    ProjectPolicy,
    QueueLimits,
    Quota,
    SlotLimit,
    UserPolicy,
)
from caravan_manager.quotas.presets import Preset

policies = keypair_resource_policies
PRESET_FIELDS: Fields = {
    "id": identity(resource_presets.c.id),
    "name": text(resource_presets.c.name),
    "shared_memory": number(resource_presets.c.shared_memory),
    "scaling_group_name": text(resource_presets.c.scaling_group),
}
"""What lists of presets can be filtered and ordered by."""


async def get_queue_limits(tx: Transaction, access_key: str) -> QueueLimits:
    """Return what the keypair's policy says of new sessions."""
    wanted = select(
        policies.c.max_containers_per_session,
        policies.c.max_pending_session_count,
        policies.c.max_pending_session_resource_slots,
    ).join_from(keypairs, policies, keypairs.c.resource_policy == policies.c.name)
    row = (await tx.execute(wanted.where(keypairs.c.access_key == access_key))).one()
    pending_slots = row.max_pending_session_resource_slots
    return QueueLimits(
        containers=row.max_containers_per_session,
        pending_sessions=row.max_pending_session_count,
        pending_slots=SlotLimit.parse(pending_slots) if pending_slots else None,
    )


async def lock_queue(tx: Transaction, access_key: str) -> None:
    """Let only this transaction add to the keypair's waiting sessions until it ends."""
    locked = select(keypairs.c.access_key).where(keypairs.c.access_key == access_key).with_for_update(key_share=True)
    await tx.execute(locked)


async def list_quotas_of_keypairs(tx: Transaction, access_keys: Sequence[str]) -> list[Quota]:
    """Return the quotas of keypairs, and of the number of their system sessions."""
    wanted = (
        select(keypairs.c.access_key, policies)
        .join_from(keypairs, policies, keypairs.c.resource_policy == policies.c.name)
        .where(keypairs.c.access_key.in_(access_keys))
        .order_by(keypairs.c.access_key)
    )
    quotas: list[Quota] = []
    for row in await tx.execute(wanted):
        sessions, system = row.max_concurrent_sessions, row.max_concurrent_sftp_sessions
        quotas.append(Quota((HolderKind.KEYPAIR, row.access_key), _slots(row), sessions if sessions > 0 else None))
        quotas.append(Quota((HolderKind.SYSTEM_KEYPAIR, row.access_key), sessions=system if system > 0 else None))
    return quotas


async def list_quotas_of_users(tx: Transaction, user_ids: Sequence[UUID]) -> list[Quota]:
    """Return the quotas of users, over all their keypairs: the slots of each one's main keypair's policy."""
    wanted = (
        select(users.c.id, policies)
        .join_from(users, keypairs, keypairs.c.access_key == users.c.main_access_key)
        .join(policies, keypairs.c.resource_policy == policies.c.name)
        .where(users.c.id.in_(user_ids))
        .order_by(users.c.id)
    )
    return [Quota((HolderKind.USER, str(row.id)), _slots(row)) for row in await tx.execute(wanted)]


async def list_quotas_of_tenants(
    tx: Transaction, project_ids: Sequence[UUID], domain_names: Sequence[str]
) -> list[Quota]:
    """Return the quotas of projects and of domains."""
    mine = select(projects.c.id, projects.c.total_resource_slots).where(projects.c.id.in_(project_ids))
    theirs = select(domains.c.name, domains.c.total_resource_slots).where(domains.c.name.in_(domain_names))
    of_projects = [
        Quota((HolderKind.PROJECT, str(row.id)), SlotLimit.parse(row.total_resource_slots))
        for row in await tx.execute(mine.order_by(projects.c.id))
    ]
    of_domains = [
        Quota((HolderKind.DOMAIN, row.name), SlotLimit.parse(row.total_resource_slots))
        for row in await tx.execute(theirs.order_by(domains.c.name))
    ]
    return [*of_projects, *of_domains]


async def list_keypair_policies(
    tx: Transaction, name: str | None, own: str | None = None, limit: int = 1000
) -> list[KeypairPolicy]:
    """Return the policies of keypairs by name, or the one of that name; with ``own`` none but that one."""
    return [KeypairPolicy(**row) for row in await _policies(tx, policies, name, limit, *_only(policies, own))]


async def list_user_policies(
    tx: Transaction, name: str | None, own: str | None = None, limit: int = 1000
) -> list[UserPolicy]:
    """Return the policies of users by name, or the one of that name; with ``own`` none but that one."""
    of = user_resource_policies
    return [UserPolicy(**row) for row in await _policies(tx, of, name, limit, *_only(of, own))]


async def list_project_policies(
    tx: Transaction, name: str | None, member: UUID | None, limit: int = 1000
) -> list[ProjectPolicy]:
    """Return the policies of projects by name, or the one of that name; with a member those of the user's projects."""
    of = project_resource_policies
    scope: list[ColumnElement[bool]] = []
    if member is not None:
        mine = select(projects.c.resource_policy).join_from(projects, project_members)
        scope.append(of.c.name.in_(mine.where(project_members.c.user_id == member)))
    return [ProjectPolicy(**row) for row in await _policies(tx, of, name, limit, *scope)]


def _only(of: Table, own: str | None) -> list[ColumnElement[bool]]:
    return [] if own is None else [of.c.name == own]


async def _policies(
    tx: Transaction, of: Table, name: str | None, limit: int, *scope: ColumnElement[bool]
) -> Sequence[RowMapping]:
    wanted = select(of).where(*scope).order_by(of.c.name).limit(limit)
    if name is not None:
        wanted = wanted.where(of.c.name == name)
    return (await tx.execute(wanted)).mappings().all()


_POLICIES = {
    PolicyKind.KEYPAIR: keypair_resource_policies,
    PolicyKind.USER: user_resource_policies,
    PolicyKind.PROJECT: project_resource_policies,
}


async def add_policy(tx: Transaction, kind: PolicyKind, name: str, values: Values) -> None:
    """Add a policy. Raises IntegrityError when there is one of that name."""
    await tx.execute(_POLICIES[kind].insert().values(name=name, **values))


async def change_policy(tx: Transaction, kind: PolicyKind, name: str, values: Values) -> bool:
    """Change some columns of a policy; False when there is no such policy."""
    of = _POLICIES[kind]
    changed = of.update().where(of.c.name == name).values(**values or {"name": name})
    return (await tx.execute(changed)).rowcount == 1


async def delete_policy(tx: Transaction, kind: PolicyKind, name: str) -> bool:
    """Delete a policy; False when there is no such policy. Raises IntegrityError while somebody has it."""
    of = _POLICIES[kind]
    return (await tx.execute(of.delete().where(of.c.name == name))).rowcount == 1


async def list_presets(tx: Transaction, scaling_group: str | None) -> list[Preset]:
    """Return by name the presets for all scaling groups, and with a group those of that group, too."""
    group = resource_presets.c.scaling_group
    return await _presets(tx, group.is_(None) | (group == scaling_group))


async def list_all_presets(tx: Transaction, choice: Choice = EVERYTHING) -> list[Preset]:
    """Return every preset that is chosen, by name unless chosen otherwise."""
    return await _presets(tx, *conditions(choice, PRESET_FIELDS), choice=choice)


async def _presets(
    tx: Transaction, *scope: ColumnElement[bool], choice: Choice = EVERYTHING, limit: int = 1000
) -> list[Preset]:
    order = ordering(choice, PRESET_FIELDS, resource_presets.c.name, resource_presets.c.id)
    wanted = select(resource_presets).where(*scope).order_by(*order)
    return [
        Preset(row.id, row.name, ResourceSlots.parse(row.resource_slots), row.shared_memory, row.scaling_group)
        for row in await tx.execute(wanted.limit(limit))
    ]


def _slots(row: AnyRow) -> SlotLimit:
    return SlotLimit.parse(row.total_resource_slots, row.default_for_unspecified)
