"""News of sessions inside one process: who waits for a session or follows its events learns at once that it moved."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from caravan_manager.sessions import metrics
from caravan_manager.sessions.events import EventFilter, SessionEvent, Subject

Key = TypeVar("Key")
Item = TypeVar("Item")

LONGEST_OUTBOX = 10_000
"""How many news wait for the other managers while Redis is away; then the oldest are dropped."""
LONGEST_STREAM = 1000
"""How many events wait for one reader; a slower one loses its stream."""


@dataclass(frozen=True, slots=True)
class News:
    """That a session moved, the events that its move means, and whether it may give the scheduler something to do."""

    session: UUID
    events: tuple[SessionEvent, ...] = ()
    is_work: bool = True


class EventStream:
    """The events that one reader asked for, in order; at the end ``finished`` or ``overrun`` may say why."""

    def __init__(self, wanted: EventFilter, longest: int = LONGEST_STREAM) -> None:
        self._wanted = wanted
        self._longest = longest
        self._waiting: deque[SessionEvent] = deque()
        self._changed = asyncio.Event()
        self.is_over = False
        self.finished = False
        """The one session that was followed is over: nothing more will come."""
        self.overrun = False
        """The reader was too slow: events were lost."""

    def offer(self, event: SessionEvent) -> None:
        """Keep the event for the reader if it is wanted."""
        if self.is_over:
            return
        if self._wanted.wants(event):
            if len(self._waiting) >= self._longest:
                self.overrun = True
                metrics.DROPPED.labels("slow-reader").inc()
                self.close()
                return
            self._waiting.append(event)
            self._changed.set()
        if self._wanted.ends_with(event):
            self.finished = True
            self.close()

    def close(self) -> None:
        """End the stream after the events that wait."""
        self.is_over = True
        self._changed.set()

    async def next(self, seconds: float) -> SessionEvent | None:
        """Return the next event, or None when there was none for so long or the stream is over."""
        if not self._waiting and not self.is_over:
            self._changed.clear()
            await set_or_after(self._changed, seconds)
        return self._waiting.popleft() if self._waiting else None


class SessionNews:
    """Tells waiters that a session moved, the scheduler that there is something to do, and followers what happened.

    Hints, no truth: who must know asks the database, too.
    """

    def __init__(self, longest_outbox: int = LONGEST_OUTBOX) -> None:
        self._waiters: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._streams: defaultdict[Subject, set[EventStream]] = defaultdict(set)
        self._outbox: deque[News] = deque()
        self._longest_outbox = longest_outbox
        self._to_send = asyncio.Event()
        self.work = asyncio.Event()
        self.missed = asyncio.Event()
        """Set when news of nodes may have been missed: the sweep looks soon, and more often for a while."""

    def moved(self, news: News) -> None:
        """Tell everybody, in this process at once and in the others soon, of a move that is committed."""
        self.heard(news)
        if len(self._outbox) >= self._longest_outbox:
            self._outbox.popleft()
            metrics.DROPPED.labels("outbox").inc()
        self._outbox.append(news)
        self._to_send.set()

    def heard(self, news: News) -> None:
        """Tell everybody in this process what another told."""
        for waiter in self._waiters.get(news.session, ()):
            waiter.set()
        if news.is_work:
            self.work.set()
        for event in news.events:
            for subject in event.subjects:
                for stream in tuple(self._streams.get(subject, ())):
                    stream.offer(event)

    async def to_send(self, most: int) -> list[News]:
        """Take the oldest news that the other managers do not have yet; waits until there is one."""
        while not self._outbox:
            self._to_send.clear()
            await self._to_send.wait()
        return [self._outbox.popleft() for _ in range(min(most, len(self._outbox)))]

    @asynccontextmanager
    async def following(self, session: UUID) -> AsyncGenerator[asyncio.Event, None]:
        """Give an event that is set at each move of the session; the waiter clears it."""
        waiter = asyncio.Event()
        with _listed(self._waiters, session, waiter):
            yield waiter

    @contextmanager
    def streaming(self, wanted: EventFilter) -> Generator[EventStream, None, None]:
        """Give the events that are wanted, from now on."""
        stream = EventStream(wanted)
        with _listed(self._streams, wanted.subject, stream), metrics.STREAMS.track_inprogress():
            yield stream

    def close_streams(self) -> None:
        """End all streams, because the process stops."""
        for streams in self._streams.values():
            for stream in streams:
                stream.close()


@contextmanager
def _listed(index: defaultdict[Key, set[Item]], key: Key, item: Item) -> Generator[None, None, None]:
    """Keep an item under its key while the block runs; a key without items goes."""
    index[key].add(item)
    try:
        yield
    finally:
        index[key].discard(item)
        if not index[key]:
            del index[key]


async def set_or_after(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
