"""Compares PostgreSQL with Nomad and the agents once a minute, and mends what the streams missed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from caravan_common.errors import CaravanError
from caravan_common.ids import job_id, session_of
from caravan_common.nomad.client import Nomad
from caravan_common.states import NodeStatus
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents
from caravan_manager.nodes.model import Node
from caravan_manager.nodes.service import NodesService
from caravan_manager.reconcile.comparison import Differences, compare_with_nomad, left_on_node
from caravan_manager.sessions import repository
from caravan_manager.sessions.model import ON_NODES
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

AT_ONCE = 16
"""How many agents are asked at the same moment."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How often the sweep runs, how long a node may be silent, and how long a session may take to start."""

    every: timedelta
    node_silence: timedelta
    start: timedelta


class Sweeper:
    """The loop of comparisons."""

    def __init__(
        self, moves: SessionMoves, nomad: Nomad, agents: Agents, node_service: NodesService, limits: Limits
    ) -> None:
        self._moves = moves
        self._nomad = nomad
        self._agents = agents
        self._nodes = node_service
        self._limits = limits
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self._limits.every.total_seconds())
            for sweep in (self._mark_lost_nodes, self.sweep_jobs, self.sweep_nodes):
                try:
                    await sweep()
                except (CaravanError, SQLAlchemyError, OSError):
                    log.exception("sweep.failed", what=sweep.__name__)

    async def _mark_lost_nodes(self) -> None:
        for name in await self._nodes.mark_lost(self._moves.clock() - self._limits.node_silence):
            log.warning("node.lost", node=name)

    async def sweep_jobs(self) -> Differences:
        """Compare sessions with Nomad's jobs once, mend, and return what was found."""
        jobs = await self._nomad.list_jobs()
        async with self._moves.begin() as tx:
            placed = await repository.list_by_status(tx, tuple(ON_NODES))
            ends = await repository.find_ends(tx, [s for job in jobs if (s := session_of(job.id)) is not None])
        found = compare_with_nomad(placed, jobs, ends, self._moves.clock(), self._limits.start)
        for orphan in found.orphans:
            log.warning("sweep.orphan_job", job=orphan)
            await self._nomad.stop(orphan)
        for session in found.vanished:
            log.warning("sweep.vanished_session", session=str(session))
            await self._moves.apply(session, lambda s, at: s.vanished("lost", at))
        for session in found.late:
            log.warning("sweep.late_session", session=str(session))
            await self._moves.apply(session, lambda s, at: s.refused("it did not start in time", at))
            await self._nomad.stop(job_id(session))
        return found

    async def sweep_nodes(self) -> None:
        """Have each agent forget the kernels whose sessions are over."""
        async with self._moves.begin() as tx:
            alive = await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value)
        await self._each(alive)

    async def _each(self, alive: Sequence[Node]) -> None:
        async with asyncio.TaskGroup() as group:
            for node in alive:
                group.create_task(self._sweep_node(node))

    async def _sweep_node(self, node: Node) -> None:
        async with self._at_once:
            try:
                held = (await self._agents.kernels(node.url)).kernels
                async with self._moves.begin() as tx:
                    ends = await repository.find_ends(tx, [kernel.session for kernel in held])
                for kernel in left_on_node(held, ends, self._moves.clock()):
                    log.warning("sweep.left_kernel", node=node.name, kernel=str(kernel))
                    await self._agents.forget(node.url, kernel)
            except CaravanError as err:
                log.warning("sweep.node_skipped", node=node.name, error=str(err))
