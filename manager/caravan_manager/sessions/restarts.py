"""Carries restarts out: Nomad is asked for new containers once, and the nodes say whether it was done.

A restart that is asked for twice would end the session: the second one takes away the container that the first one
made. So the record of asking comes before the asking, whoever finds it fresh keeps still, and when it has grown old
the node is looked at before Nomad is asked again. A process may die between any two statements.
"""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from caravan_common.errors import CaravanError
from caravan_common.failpoints import FailpointPair
from caravan_common.ids import job_id
from caravan_common.nomad.client import RESTARTS, Nomad
from caravan_common.states import SessionStatus
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents
from caravan_manager.sessions.model import Kernel, Session
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

ASKING = FailpointPair("manager.restart.ask.commit")
REPLACE = FailpointPair("manager.restart.nomad-restart")
LIST_KERNELS = FailpointPair("manager.restart.agent-list")
FOUND = FailpointPair("manager.restart.found.commit")
LEFT_ALONE = timedelta(seconds=5)
"""How long whoever recorded a restart has to ask for it, before somebody else does."""
LOOK_AGAIN = timedelta(seconds=25)
"""After this long a restart that was asked for was done or never will be: the job's `kill_timeout`, and then some."""


class Restarts:
    """Carries out the restarts of sessions that are RESTARTING."""

    def __init__(self, moves: SessionMoves, nomad: Nomad, agents: Agents) -> None:
        self._moves = moves
        self._nomad = nomad
        self._agents = agents
        self._at_once = asyncio.Semaphore(RESTARTS)

    async def begin(self, session: Session) -> None:
        """Ask for the restart of a session that was just recorded as RESTARTING. Raises UnavailableError."""
        if session.restart_asked is None:
            await self._ask(session, {kernel.id for kernel in session.kernels})

    async def resume(self, session: Session) -> None:
        """Go on with a restart that somebody began, if nobody is at it any more. Raises UnavailableError."""
        now = self._moves.clock()
        if session.restart_asked is None:
            if now - session.status_changed > LEFT_ALONE:
                await self.begin(session)
        elif now - session.restart_asked > LOOK_AGAIN:
            await self._ask(session, await self._untouched(session))

    async def _ask(self, session: Session, kernels: set[UUID]) -> None:
        """Record the asking, and if nobody else did so at the same time, ask: at once, not when a thread is free."""
        async with self._at_once:
            await self._ask_now(session, kernels)

    async def _ask_now(self, session: Session, kernels: set[UUID]) -> None:
        stamp: list[datetime] = []

        def asked(current: Session, now: datetime) -> Session:
            after = current.asked_to_restart(session.restart_asked, now)
            stamp.extend([now] if after != current else [])
            return after

        with ASKING:
            recorded = await self._moves.apply(session.id, asked)
        due = [k for k in recorded.kernels if k.id in kernels and k.status is SessionStatus.RESTARTING]
        if stamp:
            async with asyncio.TaskGroup() as group:
                for kernel in due:
                    group.create_task(self._replace(recorded, kernel))

    async def _replace(self, session: Session, kernel: Kernel) -> None:
        with REPLACE:
            await self._nomad.restart(job_id(session.id), session.group_of(kernel))

    async def _untouched(self, session: Session) -> set[UUID]:
        """Return the kernels whose old container runs on; record the new ones whose start nobody told."""
        untouched: set[UUID] = set()
        for kernel in session.kernels:
            container = await self._running(kernel)
            if container in session.replaced_containers:
                untouched.add(kernel.id)
            elif container is not None:
                await self._record(session.id, kernel.id, container)
        return untouched

    async def _record(self, session: UUID, kernel: UUID, container: str) -> None:
        log.warning("restart.start_untold", session=str(session), kernel=str(kernel))
        with FOUND:
            await self._moves.apply(session, lambda s, now: s.kernel_started(kernel, container, now))

    async def _running(self, kernel: Kernel) -> str | None:
        """Return the container that runs on the kernel's node, None when there is none or nobody says."""
        async with self._moves.begin() as tx:
            found = await nodes.list_nodes(tx, name=kernel.node)
        try:
            with LIST_KERNELS:
                held = (await self._agents.kernels(found[0].url)).kernels if found else []
        except CaravanError as err:
            log.warning("restart.node_silent", node=kernel.node, error=str(err))
            return None
        return next((k.container for k in held if k.kernel == kernel.id and k.state == "running"), None)
