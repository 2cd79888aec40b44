"""What people ask of nodes and scaling groups, and what agents report."""

from datetime import datetime
from uuid import UUID

import structlog

from caravan_common.errors import ForbiddenError
from caravan_common.slots import ResourceSlots
from caravan_common.wire.events import NodeHeartbeat, NodeStopped
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin
from caravan_manager.nodes import repository
from caravan_manager.nodes.model import Node, NodeNotFoundError, ScalingGroup
from caravan_manager.people.model import Principal
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

    async def scaling_groups(
        self, principal: Principal, *, name: str | None = None, is_active: bool | None = None
    ) -> list[ScalingGroup]:
        """Return all scaling groups for a superadmin, for others those of their domain; private ones for admins."""
        domain = None if principal.is_superadmin else principal.domain_name
        public = not principal.is_admin
        async with self._begin() as tx:
            return await repository.list_scaling_groups(
                tx, name=name, domain=domain, is_active=is_active, only_public=public
            )

    async def usable_scaling_groups(self, principal: Principal) -> list[ScalingGroup]:
        """Return the active scaling groups of the caller's domain; only administrators see private ones."""
        async with self._begin() as tx:
            return await repository.list_scaling_groups(
                tx, domain=principal.domain_name, is_active=True, only_public=not principal.is_admin
            )
