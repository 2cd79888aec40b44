"""What users ask of quotas: the policies, the presets, and what they could have now."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from caravan_common.errors import ConflictError, InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_common.states import NodeStatus
from caravan_manager import audit
from caravan_manager.checks import Values
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.nodes.model import Node, usable
from caravan_manager.nodes.repository import list_nodes, list_scaling_groups
from caravan_manager.people.model import Principal, ProjectNotFoundError
from caravan_manager.people.repository import list_projects
from caravan_manager.quotas import repository
from caravan_manager.quotas.model import HolderKind, KeypairPolicy, PolicyKind, ProjectPolicy, Quota, UserPolicy
from caravan_manager.quotas.policies import (
    PolicyNotFoundError,
    check_known_policy,
    check_policy_name,
    checked_policy,
)
from caravan_manager.quotas.presets import Budget, Offer, Preset, Room, known_slots, total
from caravan_manager.sessions.repository import Holding, list_holdings


class QuotasService:
    """Look at policies and presets, and change policies."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def keypair_policies(self, principal: Principal, name: str | None = None) -> list[KeypairPolicy]:
        """Return keypairs' policies by name: all for administrators, for others only that of their own keypair."""
        own = None if principal.is_admin else principal.resource_policy
        async with self._begin() as tx:
            return await repository.list_keypair_policies(tx, name, own)

    async def user_policies(self, principal: Principal, name: str | None = None) -> list[UserPolicy]:
        """Return users' policies by name: all for administrators, for others only their own."""
        own = None if principal.is_admin else principal.user_resource_policy
        async with self._begin() as tx:
            return await repository.list_user_policies(tx, name, own)

    async def project_policies(self, principal: Principal, name: str | None = None) -> list[ProjectPolicy]:
        """Return projects' policies by name: all for administrators, for others those of their projects."""
        member = None if principal.is_admin else principal.user_id
        async with self._begin() as tx:
            return await repository.list_project_policies(tx, name, member)

    async def create_policy(
        self, principal: Principal, kind: PolicyKind, name: str, given: Mapping[str, object]
    ) -> KeypairPolicy | UserPolicy | ProjectPolicy:
        """Make a policy. Only for superadmins. Raises ConflictError when there is one of that name."""
        principal.must_be_superadmin()
        check_policy_name(name)
        values = checked_policy(kind, given)
        try:
            async with self._begin() as tx:
                await repository.add_policy(tx, kind, name, values)
                await _record(tx, principal, "create", kind, name, values)
                return await _get(tx, kind, name)
        except IntegrityError as err:
            raise ConflictError(f"there is a {kind.value} resource policy {name} already") from err

    async def change_policy(
        self, principal: Principal, kind: PolicyKind, name: str, given: Mapping[str, object]
    ) -> None:
        """Change what is given of a policy; it holds at once, for all who have it. Only for superadmins."""
        principal.must_be_superadmin()
        check_known_policy(name)
        values = checked_policy(kind, given)
        async with self._begin() as tx:
            if not await repository.change_policy(tx, kind, name, values):
                raise PolicyNotFoundError(f"there is no {kind.value} resource policy {name}")
            await _record(tx, principal, "change", kind, name, values)

    async def delete_policy(self, principal: Principal, kind: PolicyKind, name: str) -> None:
        """Delete a policy. Only for superadmins. Raises ConflictError while somebody has it."""
        principal.must_be_superadmin()
        check_known_policy(name)
        try:
            async with self._begin() as tx:
                if not await repository.delete_policy(tx, kind, name):
                    raise PolicyNotFoundError(f"there is no {kind.value} resource policy {name}")
                await _record(tx, principal, "delete", kind, name, {})
        except IntegrityError as err:
            raise ConflictError(f"{kind.value}s have the resource policy {name}; give them another one first") from err

    async def presets(self, scaling_group: str | None = None) -> list[Preset]:
        """Return the presets that are offered for all scaling groups, and those of one."""
        async with self._begin() as tx:
            return await repository.list_presets(tx, scaling_group)

    async def all_presets(self, choice: Choice = EVERYTHING) -> list[Preset]:
        """Return all presets, by name unless chosen otherwise."""
        async with self._begin() as tx:
            return await repository.list_all_presets(tx, choice)

    async def offer(self, principal: Principal, project: str, scaling_group: str | None) -> Offer:
        """Return what the caller could have now in a project (by name), in one scaling group or in all that are usable.

        Raises ProjectNotFoundError, and InvalidParametersError for a scaling group that the caller may not use.
        """
        async with self._begin() as tx:
            project_id = await _project(tx, principal, project)
            guests = usable(principal.domain_name, [project_id], principal.access_key)
            found = await list_scaling_groups(tx, open_to=guests, is_active=True, only_public=True)
            groups = [group.name for group in found]
            if scaling_group is not None and scaling_group not in groups:
                raise InvalidParametersError("Unknown scaling group", scaling_group=scaling_group)
            quotas = [
                *await repository.list_quotas_of_keypairs(tx, [principal.access_key]),
                *await repository.list_quotas_of_users(tx, [principal.user_id]),
                *await repository.list_quotas_of_tenants(tx, [project_id], [principal.domain_name]),
            ]
            nodes = await list_nodes(tx, status=NodeStatus.ALIVE.value)
            holdings = await list_holdings(tx)
            presets = await repository.list_presets(tx, scaling_group)
        chosen = groups if scaling_group is None else [scaling_group]
        return _offer(principal, chosen, quotas, [node for node in nodes if node.schedulable], holdings, presets)


async def _get(tx: Transaction, kind: PolicyKind, name: str) -> KeypairPolicy | UserPolicy | ProjectPolicy:
    if kind is PolicyKind.KEYPAIR:
        return (await repository.list_keypair_policies(tx, name))[0]
    if kind is PolicyKind.USER:
        return (await repository.list_user_policies(tx, name))[0]
    return (await repository.list_project_policies(tx, name, None))[0]


async def _record(tx: Transaction, principal: Principal, act: str, kind: PolicyKind, name: str, facts: Values) -> None:
    await audit.record(tx, principal, f"{kind.value}-policy.{act}", f"{kind.value}-policy", name, facts)


async def _project(tx: Transaction, principal: Principal, name: str) -> UUID:
    member = None if principal.is_admin else principal.user_id
    found = await list_projects(tx, domain=principal.domain_name, member=member, name=name, is_active=True)
    if not found:
        raise ProjectNotFoundError(data=name)
    return found[0].id


def _offer(
    principal: Principal,
    groups: Sequence[str],
    quotas: Sequence[Quota],
    nodes: Sequence[Node],
    holdings: Sequence[Holding],
    presets: Sequence[Preset],
) -> Offer:
    known = known_slots([node.slots for node in nodes])
    budgets = {quota.holder[0]: Budget.of(quota.slots, _held(quota, holdings), known) for quota in quotas}
    budgets.pop(HolderKind.SYSTEM_KEYPAIR, None)
    keypair, project = budgets.pop(HolderKind.KEYPAIR), budgets.pop(HolderKind.PROJECT)
    rooms = {
        group: _room([node for node in nodes if node.scaling_group == group], principal, holdings, known)
        for group in groups
    }
    return Offer(keypair, project, tuple(budgets.values()), rooms, tuple(presets))


def _room(nodes: Sequence[Node], principal: Principal, holdings: Sequence[Holding], known: Sequence[str]) -> Room:
    names = {node.name for node in nodes}
    here = [holding for holding in holdings if holding.node in names]
    mine = total([holding.slots for holding in here if holding.tenant.access_key == principal.access_key])
    left = [node.slots - total([h.slots for h in here if h.node == node.name]) for node in nodes]
    return Room.of(mine, left, known)


def _held(quota: Quota, holdings: Sequence[Holding]) -> ResourceSlots:
    return total([holding.slots for holding in holdings if quota.holder in holding.holders])
