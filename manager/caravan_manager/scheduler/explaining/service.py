"""What people ask about waiting: why a session waits, and what would become of a request. Nothing is written."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.model import HIGHEST_PRIORITY, usable
from caravan_manager.people.model import Principal
from caravan_manager.quotas.model import Holder, HolderKind
from caravan_manager.scheduler.explaining.answer import Told
from caravan_manager.scheduler.explaining.changes import SessionsGone
from caravan_manager.scheduler.explaining.explain import explain
from caravan_manager.scheduler.explaining.model import Explanation
from caravan_manager.scheduler.explaining.telling import tell
from caravan_manager.scheduler.explaining.words import Reader
from caravan_manager.scheduler.past import PastReader
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.reading import read_snapshot
from caravan_manager.scheduler.snapshot import Snapshot
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions import survey
from caravan_manager.sessions.model import Session, TooManySessionsError
from caravan_manager.sessions.queue import Named, PendingSession, pending_of
from caravan_manager.sessions.request import SessionRequest
from caravan_manager.sessions.service import SessionsService

SECONDS = 4.0
"""For how long the planner is asked; the run that has begun then is the last."""
AT_A_TIME = 1
"""How many explanations a process makes at a time: the scheduler and the API need the processor, too."""
Reach = tuple[Sequence[str], int]
"""Scaling groups, and the highest priority."""


class ExplanationsService:
    """Explains."""

    def __init__(self, begin: Begin, service: SessionsService, clock: Callable[[], datetime]) -> None:
        self._begin = begin
        self._sessions = service
        self._clock = clock
        self._past = PastReader()
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def of(self, principal: Principal, text: str) -> Told:
        """Explain the session that the caller means by an ID, a name or its beginning.

        Raises SessionNotFoundError or TooManySessionsError.
        """
        return await self._of(principal, await self._sessions.one(principal, text))

    async def by_id(self, principal: Principal, session_id: UUID) -> Told:
        """Explain a session that the caller may see. Raises SessionNotFoundError."""
        page = await self._sessions.by_id(principal, session_id)
        return await self._of(principal, page.sessions[0])

    async def of_anybodys(self, principal: Principal, text: str) -> Told:
        """Explain anybody's session, by its ID or the name of a live one. For superadmins.

        Raises SessionNotFoundError or TooManySessionsError.
        """
        async with self._begin() as tx:
            ids = await survey.list_ids_named(tx, text)
        if len(ids) > 1:
            raise TooManySessionsError(f"several sessions have this name: {', '.join(map(str, ids))}")
        return await (self.by_id(principal, ids[0]) if ids else self.of(principal, text))

    async def of_request(self, principal: Principal, request: SessionRequest) -> Told:
        """Say whether a request would start now if it was submitted, or why not; raises what submitting would."""
        now = self._clock()
        async with self._begin() as tx:
            session, parents = await self._sessions.draft(tx, principal, request)
            drafted = pending_of(session, await sessions.list_by_id(tx, parents))
            _, snapshot = await read_snapshot(tx, now, self._past, drafted)
            reach = await _reach(tx, principal, session)
        pending = snapshot.pending[-1]
        holders = {(HolderKind.USER, str(session.user_id)): principal.email}
        holders[HolderKind.PROJECT, str(session.project_id)] = request.project
        own = Named(session.name, principal.user_id, principal.domain_name, principal.email)
        return await self._tell(principal, snapshot, pending, reach, session.name, holders, {session.id: own})

    async def _of(self, principal: Principal, session: Session) -> Told:
        now = self._clock()
        async with self._begin() as tx:
            _, snapshot = await read_snapshot(tx, now, self._past)
            reach = await _reach(tx, principal, session)
        pending = next((pending for pending in snapshot.pending if pending.id == session.id), None)
        if pending is None:
            page = await self._sessions.by_id(principal, session.id)
            return _outside(page.sessions[0], now)
        page = await self._sessions.by_id(principal, session.id)
        holders = {(HolderKind.USER, str(session.user_id)): page.emails[session.id]}
        holders[HolderKind.PROJECT, str(session.project_id)] = page.project_names[session.id]
        return await self._tell(principal, snapshot, pending, reach, session.name, holders, {})

    async def _tell(
        self,
        principal: Principal,
        snapshot: Snapshot,
        pending: PendingSession,
        reach: Reach,
        name: str,
        holders: dict[Holder, str],
        known: dict[UUID, Named],
    ) -> Told:
        async with self._turns:
            found = await asyncio.to_thread(_explain, snapshot, pending.id, reach)
        async with self._begin() as tx:
            named = await survey.list_named(tx, _mentioned(found))
        return tell(found, Reader(principal, named | known, holders), name, len(pending.kernels))


@cache
def _plugins() -> Plugins:
    """Return the plugins: one that is too slow for an explanation is not kept from the scheduler."""
    return find_plugins().for_itself()


def _explain(snapshot: Snapshot, session: UUID, reach: Reach) -> Explanation:
    groups, highest = reach
    until = time.monotonic() + SECONDS
    return explain(
        snapshot,
        session,
        _plugins(),
        groups=groups,
        highest=highest,
        may_go_on=lambda: time.monotonic() < until,
    )


async def _reach(tx: Transaction, principal: Principal, session: Session) -> Reach:
    """Return in which scaling groups the session could be, and which priority the caller could give it in its own."""
    guests = usable(session.domain_name, [session.project_id], session.access_key)
    found = await nodes.list_scaling_groups(tx, open_to=guests, is_active=True)
    own = next((group for group in found if group.name == session.scaling_group), None)
    highest = HIGHEST_PRIORITY if own is None or principal.is_asked_for_by_admin else own.user_priority
    return [group.name for group in found if group.takes(session.type)], highest


def _mentioned(found: Explanation) -> list[UUID]:
    """Return the sessions that an explanation speaks of."""
    mentioned = {*found.estimate.waits_for}
    for told in found.obstructions:
        mentioned.update(told.sessions)
        mentioned.update(session for state in told.nodes for session in state.holders)
    for helping in found.counterfactuals:
        mentioned.update(s for change in helping.changes if isinstance(change, SessionsGone) for s in change.sessions)
    if found.queue is not None:
        mentioned.update(ahead.session for ahead in found.queue.ahead)
    return sorted(mentioned)


def _outside(session: Session, now: datetime) -> Told:
    """Tell of a session that does not wait, or that is behind all those that a pass looks at."""
    where: list[dict[str, object]] = [
        {"node": kernel.node, "devices": [device.to_json() for device in kernel.devices]}
        for kernel in session.kernels
        if kernel.node is not None
    ]
    on = ", ".join(dict.fromkeys(str(seat["node"]) for seat in where))
    told: dict[str, object] = {"id": str(session.id), "name": session.name, "status": session.status.value}
    summary = f"is {session.status.value}, not in the queue{f'; on {on}' if on else ''}"
    if session.status_info:
        summary += f" ({session.status_info})"
    return Told(told, "not-in-queue", summary, now.isoformat(), seats=where)
