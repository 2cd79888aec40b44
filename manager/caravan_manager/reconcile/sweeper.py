"""Compares PostgreSQL with Nomad and the agents once a minute, and mends what the streams missed.

When something may have been missed (this process has just started, a stream broke) it looks at once, and then more
often for as long as what it finds may still be on its way.
"""

import asyncio
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from caravan_common.errors import CaravanError
from caravan_common.failpoints import FailpointPair
from caravan_common.ids import job_id, session_of
from caravan_common.nomad.client import Nomad
from caravan_common.nomad.events import AllocationEnded
from caravan_common.states import NodeStatus, SessionStatus
from caravan_common.wire.agent import KernelState
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents
from caravan_manager.nodes.model import Node
from caravan_manager.nodes.service import NodesService
from caravan_manager.reconcile.comparison import Differences, compare_with_nomad, left_on_node, missed_starts
from caravan_manager.reconcile.illness import Illnesses, health_of
from caravan_manager.sessions import repository, survey
from caravan_manager.sessions.illness import Holder
from caravan_manager.sessions.model import BEFORE_RELEASE, COMING_UP, ON_NODES, Session
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

SOON = timedelta(seconds=15)
"""How often the sweep runs while something may have been missed."""
DOUBT = timedelta(minutes=2)
"""How long it may: several times what a session that moved just now is left alone."""
SHORTEST_PAUSE_SECONDS = 3.0
AT_ONCE = 16
"""How many agents are asked at the same moment."""

LOST = FailpointPair("manager.sweep.lost.commit")
LIST_JOBS = FailpointPair("manager.sweep.nomad-list")
STOP_ORPHAN = FailpointPair("manager.sweep.orphan.nomad-stop")
READ_END = FailpointPair("manager.sweep.vanished.nomad-read")
VANISHED = FailpointPair("manager.sweep.vanished.commit")
LATE = FailpointPair("manager.sweep.late.commit")
STOP_LATE = FailpointPair("manager.sweep.late.nomad-stop")
LIST_KERNELS = FailpointPair("manager.sweep.agent-list")
FORGET = FailpointPair("manager.sweep.agent-forget")
MISSED = FailpointPair("manager.sweep.missed.commit")
STRANDED = FailpointPair("manager.sweep.stranded.commit")
READ_PLACES = FailpointPair("manager.sweep.displaced.nomad-read")
DISPLACED = FailpointPair("manager.sweep.displaced.commit")


@dataclass(frozen=True, slots=True)
class Limits:
    """How often the sweep runs, how long a node may be silent, and how long a session may take to start."""

    every: timedelta
    node_silence: timedelta
    start: timedelta


class Sweeper:
    """The loop of comparisons."""

    def __init__(
        self,
        moves: SessionMoves,
        nomad: Nomad,
        agents: Agents,
        node_service: NodesService,
        illnesses: Illnesses,
        limits: Limits,
    ) -> None:
        self._moves = moves
        self._nomad = nomad
        self._agents = agents
        self._nodes = node_service
        self._illnesses = illnesses
        self._limits = limits
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Sweep for ever."""
        began = doubted = self._moves.clock()
        while True:
            await self._sweep(began)
            doubtful = self._moves.clock() - doubted < DOUBT
            if await self._missed_within(min(SOON, self._limits.every) if doubtful else self._limits.every):
                doubted = self._moves.clock()

    async def _missed_within(self, pause: timedelta) -> bool:
        """Wait for the next sweep; says whether something may have been missed meanwhile."""
        await asyncio.sleep(min(SHORTEST_PAUSE_SECONDS, pause.total_seconds()))
        missed = self._moves.news.missed
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await missed.wait()
        except TimeoutError:
            return False
        missed.clear()
        return True

    async def _sweep(self, began: datetime) -> None:
        of_all = (self.sweep_jobs, self.sweep_nodes, self.sweep_devices, self._illnesses.sweep)
        for sweep in (partial(self.mark_lost_nodes, began), *of_all):
            try:
                await sweep()
            except* (CaravanError, SQLAlchemyError, OSError):
                log.exception("sweep.failed")

    async def mark_lost_nodes(self, began: datetime) -> None:
        """Mark the nodes that have been silent for too long; not while this process, begun then, hears for less."""
        silent_since = self._moves.clock() - self._limits.node_silence
        if silent_since < began:
            return
        with LOST:
            lost = await self._nodes.mark_lost(silent_since)
        for name in lost:
            log.warning("node.lost", node=name)

    async def sweep_jobs(self) -> Differences:
        """Compare sessions with Nomad's jobs once, mend, and return what was found."""
        with LIST_JOBS:
            jobs = await self._nomad.list_jobs()
        async with self._moves.begin() as tx:
            placed = await survey.list_states(tx, tuple(ON_NODES))
            live = [s for job in jobs if not job.is_over and (s := session_of(job.id)) is not None]
            ends = await repository.find_ends(tx, live)
        found = compare_with_nomad(placed, jobs, ends, self._moves.clock(), self._limits.start)
        for stranger in found.strangers:
            log.error("sweep.unknown_job", job=stranger)
        for orphan in found.orphans:
            log.warning("sweep.orphan_job", job=orphan)
            with STOP_ORPHAN:
                await self._nomad.stop(orphan)
        for session in found.vanished:
            await self._end_vanished(session)
        for session in found.late:
            await self._end_late(session)
        return found

    async def _end_vanished(self, session: UUID) -> None:
        """Record the end that Nomad remembers; a session of which it knows nothing any more was lost."""
        log.warning("sweep.vanished_session", session=str(session))
        with READ_END:
            remembered = await self._nomad.ended(job_id(session))
        with VANISHED:
            for ended in remembered:
                await self._moves.apply(session, partial(_group_terminated, ended))
            await self._moves.apply(session, lambda s, at: s.vanished("lost", at))

    async def _end_late(self, session: UUID) -> None:
        with LATE:
            after = await self._moves.apply(
                session, lambda s, at: s.refused("it did not start in time", at) if s.status in COMING_UP else s
            )
        if after.status is SessionStatus.ERROR:
            log.warning("sweep.late_session", session=str(session))
            with STOP_LATE:
                await self._nomad.stop(job_id(session))

    async def sweep_nodes(self) -> None:
        """Have agents forget the kernels whose sessions are over or were placed anew, and find starts nobody told.

        A gang that waits for a kernel on a LOST node has lost that rank.
        """
        async with self._moves.begin() as tx:
            stranded = await survey.list_stranded(tx)
            alive = await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value)
            awaited = await survey.list_awaited(tx)
        for session, kernel in stranded:
            log.warning("sweep.stranded_rank", session=str(session), kernel=str(kernel))
            with STRANDED:
                await self._moves.apply(session, partial(_stranded, kernel))
        async with asyncio.TaskGroup() as group:
            for node in alive:
                group.create_task(self._sweep_node(node, awaited))

    async def sweep_devices(self) -> None:
        """Have sessions placed anew whose device fell ill before Nomad found a place for them: it would wait for it."""
        async with self._moves.begin() as tx:
            waiting = await survey.list_to_be_placed(tx)
            health = health_of(await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value) if waiting else [])
        for holder in waiting:
            ill = sorted(device for _, device in holder.ill(health)) if holder.node in health else []
            if ill:
                await self._displace(holder, f"the device {ill[0]} fell ill before Nomad found a place for it")

    async def _displace(self, holder: Holder, reason: str) -> None:
        with READ_PLACES:
            placed = await self._nomad.placed(job_id(holder.session))
        with DISPLACED:
            await self._moves.apply(holder.session, partial(_displaced, holder.kernel, placed, reason))

    async def _sweep_node(self, node: Node, awaited: Mapping[UUID, UUID]) -> None:
        async with self._at_once:
            try:
                with LIST_KERNELS:
                    held = (await self._agents.kernels(node.url)).kernels
                async with self._moves.begin() as tx:
                    ends = await repository.find_ends(tx, [kernel.session for kernel in held])
                    known = await repository.find_kernels(tx, [kernel.kernel for kernel in held])
                for kernel in left_on_node(held, ends, known, self._moves.clock()):
                    log.warning("sweep.left_kernel", node=node.name, kernel=str(kernel))
                    with FORGET:
                        await self._agents.forget(node.url, kernel)
                for started in missed_starts(held, awaited):
                    log.warning("sweep.missed_start", node=node.name, kernel=str(started.kernel))
                    with MISSED:
                        await self._moves.apply(awaited[started.kernel], partial(_started, started))
            except CaravanError as err:
                log.warning("sweep.node_skipped", node=node.name, error=str(err))


def _started(state: KernelState, session: Session, now: datetime) -> Session:
    return session.kernel_started(state.kernel, state.container or "", now)


def _displaced(kernel_id: UUID, placed: Set[str], reason: str, session: Session, now: datetime) -> Session:
    """What Nomad has found a place for goes on, with an ill device as any other."""
    kernel = session.kernel(kernel_id)
    if kernel is None or session.group_of(kernel) in placed:
        return session
    after = session.displaced(kernel_id, reason, now)
    if after is not session:
        log.warning("sweep.displaced_session", session=str(session.id), kernel=str(kernel_id), reason=reason)
    return after


def _stranded(kernel: UUID, session: Session, now: datetime) -> Session:
    """Nobody can tell its node to begin; a session that began meanwhile stays as it is."""
    waits = session.status in BEFORE_RELEASE
    return session.kernel_terminated(kernel, None, "the node fell silent", now) if waits else session


def _group_terminated(ended: AllocationEnded, session: Session, now: datetime) -> Session:
    return session.group_terminated(ended.group, ended.exit_code, ended.reason, now)
