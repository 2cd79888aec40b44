"""Telling the manager, through Redis, what is due of each kernel, however long Redis is away."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from caravan_agent_driver.kernels.model import Told, due_event
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.metrics import EVENT_FAILURES, EVENTS, START_TOLD
from caravan_agent_driver.tasks import Background
from caravan_common.config import RedisSection
from caravan_common.failpoints import FailpointPair
from caravan_common.redis import make_redis
from caravan_common.wire.events import Event, KernelStarted, Streams

log = structlog.get_logger()

SEND_SECONDS = 5.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

SEND = FailpointPair("agent.events.redis-add")
TOLD_WRITE = FailpointPair("agent.events.told-write")
FORGET = FailpointPair("agent.events.forget")


class NotSentError(Exception):
    """The message did not get into the stream."""


class Sink(Protocol):
    """Takes the agent's messages. ``send`` raises NotSentError."""

    async def send(self, event: Event) -> None: ...


class RedisStreams:
    """The event streams in Redis; connects when it is used."""

    def __init__(self, section: RedisSection) -> None:
        self._streams = Streams.of(section.stream)
        once = Retry(NoBackoff(), 1)  # for a connection that Redis closed; the pauses are ours
        self._redis = make_redis(section, answer_seconds=SEND_SECONDS, retry=once)

    async def send(self, event: Event) -> None:
        """Append one message to its stream, which Redis trims to about its length."""
        stream = self._streams.carrying(event)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._redis.xadd(
                    stream.key, {"event": event.model_dump_json()}, maxlen=stream.length, approximate=True
                )
        except (RedisError, OSError, TimeoutError) as err:
            EVENT_FAILURES.inc()
            raise NotSentError(str(err)) from err
        EVENTS.labels(event.type).inc()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class Reporter:
    """Sends what the manager was not told yet of each kernel, in the order of the changes.

    The store is the queue: nothing is lost by a Redis that is away or an agent that is restarted, and nothing grows.
    """

    def __init__(self, store: KernelStore, sink: Sink, background: Background, node: str) -> None:
        self._store = store
        self._sink = sink
        self._background = background
        self._node = node
        self._due: dict[UUID, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        store.on_change(self.note)

    def note(self, kernel: UUID) -> None:
        """Remember that something about the kernel changed."""
        self._due[kernel] = None
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        pause = SHORTEST_PAUSE
        while True:
            await self._wake.wait()
            try:
                await self._send_all()
                pause = SHORTEST_PAUSE
            except NotSentError as err:
                log.warning("events.not_sent", error=str(err), kernels=len(self._due), pause=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def drain(self, seconds: float) -> None:
        """Wait until everything that is due is sent, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _send_all(self) -> None:
        while self._due:
            kernel = next(iter(self._due))
            if not await self._send_next(kernel):
                self._due.pop(kernel, None)
        self._wake.clear()
        self._idle.set()

    async def _send_next(self, kernel: UUID) -> bool:
        """Send the kernel's first event that is due; says whether there was one."""
        record = self._store.find(kernel)
        due = None if record is None else due_event(record, self._node)
        if due is None:
            return False
        told, event = due
        with SEND:
            await self._sink.send(event)
        if isinstance(event, KernelStarted):
            START_TOLD.observe((datetime.now(UTC) - event.at).total_seconds())
        log.info("kernel.told", kernel=str(kernel), told=told.name.lower())
        self._record(kernel, told, record.container if record is not None else None)
        return True

    def _record(self, kernel: UUID, told: Told, container: str | None) -> None:
        """Remember what was told of a container; of another one, which began meanwhile, nothing was told yet."""
        record = self._store.find(kernel)
        if record is None or record.container != container:
            return
        if told is Told.CLEANED:
            self._background.spawn(self._forget(kernel))
        self._store.set(record.having_told(told))
        self._background.spawn(self._save(kernel))

    async def _save(self, kernel: UUID) -> None:
        with TOLD_WRITE:
            await self._store.save(kernel)

    async def _forget(self, kernel: UUID) -> None:
        with FORGET:
            await self._store.forget(kernel)
