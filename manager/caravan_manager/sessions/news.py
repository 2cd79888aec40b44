"""News of sessions inside one process: who waits for a session learns at once that it moved."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID


class SessionNews:
    """Tells waiters that a session moved, and the scheduler that there is something to do. Hints, no truth."""

    def __init__(self) -> None:
        self._waiters: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self.work = asyncio.Event()

    def moved(self, session: UUID) -> None:
        """Say that a session moved."""
        for waiter in self._waiters.get(session, ()):
            waiter.set()
        self.work.set()

    @asynccontextmanager
    async def following(self, session: UUID) -> AsyncGenerator[asyncio.Event, None]:
        """Give an event that is set at each move of the session; the waiter clears it."""
        waiter = asyncio.Event()
        self._waiters[session].add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[session].discard(waiter)
            if not self._waiters[session]:
                del self._waiters[session]
