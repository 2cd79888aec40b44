"""The one way in which a session moves: lock its row, decide purely, record guarded, tell who waits."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.sessions import metrics, repository
from caravan_manager.sessions.events import events_of
from caravan_manager.sessions.model import Session
from caravan_manager.sessions.news import News, SessionNews

log = structlog.get_logger()

Move = Callable[[Session, datetime], Session]
Along = Callable[[Transaction], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SessionMoves:
    """Carries out moves of the state machine."""

    begin: Begin
    news: SessionNews
    clock: Callable[[], datetime]

    async def apply(self, session_id: UUID, move: Move, along: Along | None = None) -> Session:
        """Move a session and return it. Raises SessionNotFoundError, and whatever ``move`` raises.

        ``along`` writes in the same transaction what belongs to the move, such as a line of the audit log.
        """
        async with self.begin() as tx:
            before = await repository.get_for_update(tx, session_id)
            after = move(before, self.clock())
            await repository.save(tx, before, after)
            if along is not None:
                await along(tx)
        if after != before:
            log.info("session.moved", session=str(session_id), before=before.status, after=after.status)
            self.tell(before, after)
        return after

    def tell(self, before: Session | None, after: Session) -> None:
        """Tell who waits and who follows of a committed move; ``before`` is None for a new session. Never waits."""
        events = events_of(before, after)
        for event in events:
            metrics.EVENTS.labels(event.name).inc()
        self.news.moved(News(after.id, events, is_work=after.needs_the_scheduler))
