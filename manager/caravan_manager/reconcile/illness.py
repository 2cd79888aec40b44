"""Tells sessions that a device of theirs fell ill, or is well again: as heartbeats say so, and in each sweep.

A heartbeat that says something new of devices is a hint to look at the node at once. Whoever missed it, or died over
it, finds in the sweep what the nodes say and what the sessions were told.
"""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import structlog

from caravan_common.failpoints import FailpointPair
from caravan_common.states import NodeStatus
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.model import Node
from caravan_manager.sessions import metrics, survey
from caravan_manager.sessions.illness import Health, NodeHealth, illnesses, told_of_devices
from caravan_manager.sessions.model import SessionNotFoundError
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

TELL = FailpointPair("manager.illness.commit")


class Illnesses:
    """Compares the devices that sessions hold with what their nodes say of them."""

    def __init__(self, moves: SessionMoves) -> None:
        self._moves = moves
        self._heard: dict[str, frozenset[tuple[str, str, bool]]] = {}

    async def heard(self, beat: NodeHeartbeat) -> None:
        """Look at the node if this process has not heard the same of its devices before."""
        said = frozenset((device.slot, device.id, device.healthy) for device in beat.devices)
        if self._heard.get(beat.name, frozenset()) != said:
            await self._look(beat.name)
            self._heard[beat.name] = said

    async def sweep(self) -> None:
        """Look at all nodes."""
        held = await self._look()
        metrics.ILL_DEVICES.clear()
        for slot, count in held.items():
            metrics.ILL_DEVICES.labels(slot).set(count)

    async def _look(self, node: str | None = None) -> Counter[str]:
        """Tell the sessions what they do not know; returns how many ill devices they hold, by slot."""
        async with self._moves.begin() as tx:
            alive = await nodes.list_nodes(tx, name=node, status=NodeStatus.ALIVE.value)
            holders = await survey.list_holders(tx, node)
        health = health_of(alive)
        for session in dict.fromkeys(holder.session for holder in holders if holder.must_be_told(health)):
            await self._tell(session, health)
        return Counter(slot for holder in holders for slot, _ in holder.ill(health))

    async def _tell(self, session: UUID, health: Health) -> None:
        try:
            with TELL:
                after = await self._moves.apply(session, lambda s, now: told_of_devices(s, health, now))
        except SessionNotFoundError:
            log.info("illness.of_unknown_session", session=str(session))
            return
        ill = [f"{ill.agent}/{ill.device}: {ill.problem}" for ill in illnesses(after.status_data).values()]
        log.warning("session.devices_ill" if ill else "session.devices_well", session=str(session), ill=ill)


def health_of(alive: Sequence[Node]) -> Health:
    """Return what nodes that are alive said of their devices last."""
    return {
        node.name: NodeHealth(
            well=frozenset((device.slot, device.id) for device in node.devices if device.healthy),
            ill={(device.slot, device.id): device.problem for device in node.devices if not device.healthy},
        )
        for node in alive
    }
