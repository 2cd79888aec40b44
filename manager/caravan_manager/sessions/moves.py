"""The one way in which a session moves: lock its row, decide purely, record guarded, tell who waits."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from caravan_manager.db.engine import Begin
from caravan_manager.sessions import repository
from caravan_manager.sessions.model import Session
from caravan_manager.sessions.news import SessionNews

log = structlog.get_logger()

Move = Callable[[Session, datetime], Session]


@dataclass(frozen=True, slots=True)
class SessionMoves:
    """Carries out moves of the state machine."""

    begin: Begin
    news: SessionNews
    clock: Callable[[], datetime]

    async def apply(self, session_id: UUID, move: Move) -> Session:
        """Move a session and return it. Raises SessionNotFoundError, and whatever ``move`` raises."""
        async with self.begin() as tx:
            before = await repository.get_for_update(tx, session_id)
            after = move(before, self.clock())
            await repository.save(tx, before, after)
        if after != before:
            log.info("session.moved", session=str(session_id), before=before.status, after=after.status)
            self.news.moved(session_id)
        return after
