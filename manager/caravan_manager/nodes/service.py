"""What people ask of nodes and scaling groups, and what agents report."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from caravan_common.errors import ForbiddenError
from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionType
from caravan_common.wire.events import NodeHeartbeat, NodeStopped
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.nodes import repository
from caravan_manager.nodes.groups import check_guest
from caravan_manager.nodes.model import Guest, Node, NodeNotFoundError, ScalingGroup, Statistics, usable
from caravan_manager.nodes.slots import Divisions, together
from caravan_manager.people.model import Principal, ProjectNotFoundError
from caravan_manager.people.repository import list_projects
from caravan_manager.sessions.repository import occupied_by_node

log = structlog.get_logger()


class NodesService:
    """Nodes and scaling groups."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def heard(self, beat: NodeHeartbeat) -> None:
        """Record what an agent says of its node, unless it has said something since."""
        async with self._begin() as tx:
            is_news = await repository.record_heartbeat(tx, beat)
        if not is_news:
            log.info("node.late_heartbeat", node=beat.name, said_at=beat.at)

    async def stopped(self, event: NodeStopped) -> None:
        """Record that an agent stopped in order, unless a later process on the node was heard before this came."""
        async with self._begin() as tx:
            await repository.record_stop(tx, UUID(event.node), event.at)

    async def mark_lost(self, silent_since: datetime) -> list[str]:
        """Mark as LOST the nodes that were silent for too long; returns their names."""
        async with self._begin() as tx:
            return await repository.mark_lost(tx, silent_since)

    async def offered_slots(self) -> frozenset[str]:
        """Return the names of the slots that some node offers."""
        async with self._begin() as tx:
            return await repository.list_slots(tx)

    async def divisions_by_group(self) -> Mapping[str, Divisions]:
        """Return of each scaling group, and of each slot, into how many shares its devices are divided."""
        async with self._begin() as tx:
            return await repository.list_divisions(tx)

    async def divisions(self, scaling_group: str | None) -> Divisions:
        """Return of each slot into how many shares devices are divided, in one scaling group or in all."""
        found = await self.divisions_by_group()
        return together(found.values() if scaling_group is None else [found.get(scaling_group, {})])

    async def nodes(
        self,
        principal: Principal,
        *,
        scaling_group: str | None,
        status: str | None,
        choice: Choice = EVERYTHING,
    ) -> tuple[list[Node], dict[str, ResourceSlots]]:
        """Return nodes by name and what is taken of each; for administrators."""
        if not principal.is_admin:
            raise ForbiddenError("only administrators list agents")
        async with self._begin() as tx:
            found = await repository.list_nodes(tx, scaling_group=scaling_group, status=status, choice=choice)
            return found, await occupied_by_node(tx)

    async def node(self, principal: Principal, name: str) -> tuple[Node, ResourceSlots]:
        """Return one node and what is taken of it. Raises NodeNotFoundError."""
        if not principal.is_admin:
            raise ForbiddenError("only administrators look at agents")
        async with self._begin() as tx:
            found = await repository.list_nodes(tx, name=name)
            taken = await occupied_by_node(tx)
        if not found:
            raise NodeNotFoundError(data=name)
        return found[0], taken.get(name, ResourceSlots())

    async def statistics(self, principal: Principal, name: str | None = None) -> dict[str, Statistics]:
        """Return how the devices of the nodes that are ALIVE do, or of one of them; for administrators."""
        if not principal.is_admin:
            raise ForbiddenError("only administrators look at agents")
        async with self._begin() as tx:
            return await repository.list_statistics(tx, name)

    async def scaling_groups(
        self, principal: Principal, *, name: str | None = None, is_active: bool | None = None
    ) -> list[ScalingGroup]:
        """Return all scaling groups for a superadmin, for others what is open to them somewhere.

        That is to their domain, to one of the projects that they see or to their keypair; private ones for admins.
        """
        async with self._begin() as tx:
            guests = None
            if not principal.is_superadmin:
                guests = usable(principal.domain_name, await _projects(tx, principal), principal.access_key)
            return await repository.list_scaling_groups(
                tx, name=name, open_to=guests, is_active=is_active, only_public=not principal.is_admin
            )

    async def groups_for_uploads(self, principal: Principal, project: UUID | str | None) -> dict[str, list[str]]:
        """Return of each volume the scaling groups that take system sessions and have a node that mounts it.

        Those that the caller may use in a project, by its ID or name, or in any. WebUI asks the first of them for the
        session into which files are sent with SFTP.
        """
        async with self._begin() as tx:
            projects = await _projects(tx, principal, project)
            if project is not None and not projects:
                return {}
            guests = usable(principal.domain_name, projects, principal.access_key)
            found = await repository.list_scaling_groups(tx, open_to=guests, is_active=True)
            names = [group.name for group in found if group.takes(SessionType.SYSTEM)]
            mounted = await repository.list_mounted(tx, names) if names else []
        of_volume: defaultdict[str, list[str]] = defaultdict(list)
        for volume, group in mounted:
            of_volume[volume].append(group)
        return dict(of_volume)

    async def usable_scaling_groups(self, principal: Principal, project: UUID | str) -> list[ScalingGroup]:
        """Return the active scaling groups that the caller may use in a project of the domain, by its ID or name.

        Only administrators see private ones. Raises ProjectNotFoundError.
        """
        async with self._begin() as tx:
            projects = await _projects(tx, principal, project)
            if not projects:
                raise ProjectNotFoundError(data=str(project))
            guests = usable(principal.domain_name, projects, principal.access_key)
            return await repository.list_scaling_groups(
                tx, open_to=guests, is_active=True, only_public=not principal.is_admin
            )

    async def scaling_groups_open_to(
        self, principal: Principal, guest: Guest, *, is_active: bool | None = None
    ) -> list[ScalingGroup]:
        """Return the scaling groups that are open to a guest as such. Only for superadmins."""
        principal.must_be_superadmin()
        check_guest(guest)
        async with self._begin() as tx:
            return await repository.list_scaling_groups(tx, open_to=[guest], is_active=is_active)

    async def open_to_projects(self, projects: Sequence[UUID]) -> dict[UUID, list[str]]:
        """Return the scaling groups that are open to projects that the caller was allowed to see, with one query."""
        async with self._begin() as tx:
            return await repository.list_open_to_projects(tx, projects)


async def _projects(tx: Transaction, principal: Principal, wanted: UUID | str | None = None) -> list[UUID]:
    """Return the active projects of the caller's domain that the caller sees: all, or one by its ID or name."""
    found = await list_projects(
        tx,
        domain=principal.domain_name,
        member=None if principal.is_admin else principal.user_id,
        name=wanted if isinstance(wanted, str) else None,
        project=wanted if isinstance(wanted, UUID) else None,
        is_active=True,
    )
    return [project.id for project in found]
