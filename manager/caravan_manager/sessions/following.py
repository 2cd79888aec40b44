"""Who may follow the events of sessions, how many streams at once, and what a late follower still learns."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from caravan_common.errors import ForbiddenError, TooManyRequestsError
from caravan_manager.db.engine import Begin
from caravan_manager.people import repository as people
from caravan_manager.people.model import Principal, ProjectNotFoundError
from caravan_manager.sessions import repository
from caravan_manager.sessions.events import EventFilter, last_event
from caravan_manager.sessions.model import SessionNotFoundError
from caravan_manager.sessions.news import EventStream, SessionNews

STREAMS_OF_ONE_USER = 100
STREAMS_OF_ALL = 5000


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """Which events a user asks for; None means any. ``session`` overrides name and owner."""

    scopes: frozenset[str]
    session: UUID | None = None
    session_name: str | None = None
    owner_access_key: str | None = None
    project_name: str | None = None


class SessionEvents:
    """Gives users streams of events, bounded for each user and in all."""

    def __init__(self, begin: Begin, news: SessionNews) -> None:
        self._begin = begin
        self._news = news
        self._open: Counter[UUID] = Counter()

    @asynccontextmanager
    async def follow(self, principal: Principal, request: EventsRequest) -> AsyncGenerator[EventStream, None]:
        """Give the stream of what was asked for and the caller may see, from now on.

        A session that is asked for by its ID and over already is told to be over at once. Raises ForbiddenError,
        ProjectNotFoundError and TooManyRequestsError.
        """
        if not principal.is_admin and request.owner_access_key not in {None, principal.access_key}:
            raise ForbiddenError
        wanted = EventFilter(
            viewer=principal,
            scopes=request.scopes,
            session=request.session,
            session_name=request.session_name,
            access_key=request.owner_access_key or principal.access_key,
            projects=await self._projects(principal, request.project_name),
        )
        self._admit(principal)
        try:
            with self._news.streaming(wanted) as stream:
                await self._catch_up(request.session, stream)
                yield stream
        finally:
            self._open -= Counter([principal.user_id])

    def close(self) -> None:
        """End all streams after the events that wait; their clients come back, to this manager or to another."""
        self._news.close_streams()

    def _admit(self, principal: Principal) -> None:
        if self._open[principal.user_id] >= STREAMS_OF_ONE_USER or self._open.total() >= STREAMS_OF_ALL:
            raise TooManyRequestsError("too many streams of events are open")
        self._open[principal.user_id] += 1

    async def _projects(self, principal: Principal, name: str | None) -> frozenset[UUID] | None:
        if name is None:
            return None
        domain = None if principal.is_superadmin else principal.domain_name
        async with self._begin() as tx:
            found = await people.list_projects(tx, domain=domain, name=name)
        if not found:
            raise ProjectNotFoundError
        return frozenset(project.id for project in found)

    async def _catch_up(self, session_id: UUID | None, stream: EventStream) -> None:
        """The session may have ended before the stream was open: nothing would ever come."""
        if session_id is None:
            return
        try:
            async with self._begin() as tx:
                last = last_event(await repository.get(tx, session_id))
        except SessionNotFoundError:
            return
        if last is not None:
            stream.offer(last)
