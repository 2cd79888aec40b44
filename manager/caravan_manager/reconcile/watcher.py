"""Turns news from the nodes and from Nomad into moves of sessions: in order for each session, many sessions at once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

import aiohttp
import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from caravan_common.errors import CaravanError, UnavailableError
from caravan_common.failpoints import FailpointPair
from caravan_common.nomad.events import AllocationEnded, allocations_ended
from caravan_common.wire.events import (
    EVENT,
    Event,
    KernelCleaned,
    KernelStarted,
    KernelTerminated,
    NodeEvent,
    NodeHeartbeat,
    NodeStopped,
    Stream,
    Streams,
)
from caravan_manager.nodes.service import NodesService
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.sessions.model import Session, SessionNotFoundError
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

Entry = tuple[bytes, dict[bytes, bytes]]
"""The ID and the fields of one entry of a Redis stream."""

GROUP = "manager"
BATCH = 200
NEW, UNACKNOWLEDGED = ">", "0"
BLOCK_MILLISECONDS = 5000
CLAIM_AFTER_MILLISECONDS = 30_000
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0

HEARD = FailpointPair("manager.heartbeat.commit")
STARTED = FailpointPair("manager.started.commit")
TERMINATED = FailpointPair("manager.terminated.commit")
ACKNOWLEDGE = FailpointPair("manager.events.redis-ack")
ALLOCATION = FailpointPair("manager.allocation.commit")


async def retrying(name: str, act: Callable[[], Awaitable[None]], missed: asyncio.Event) -> None:
    """Do ``act`` for ever; after each outage set ``missed``, and wait a little longer, up to a bound.

    An ``act`` that went well for longer than that has come through: the next outage is a new one.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = time.monotonic()
        try:
            await act()
            pause = FIRST_PAUSE_SECONDS
        except* (RedisError, SQLAlchemyError, UnavailableError, OSError) as errors:
            log.warning("stream.broken", stream=name, error=str(errors.exceptions[0]), pause=pause)
            missed.set()
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


class AgentWatcher:
    """Reads the agents' streams in Redis. Managers share the entries; an entry is done when it is recorded."""

    def __init__(
        self,
        redis: Redis,
        streams: Streams,
        consumer: str,
        nodes: NodesService,
        illnesses: Illnesses,
        moves: SessionMoves,
    ) -> None:
        self._redis = redis
        self._streams = streams
        self._consumer = consumer
        self._nodes = nodes
        self._illnesses = illnesses
        self._moves = moves

    async def run(self) -> None:
        """Read for ever; heartbeats wait for no kernel, and kernels for no heartbeat.

        Not in a task group: it hands one cancellation on to its tasks and no second one, and the first can get lost in
        the Redis library (see :func:`caravan_common.service.end`); the process would never stop.
        """
        streams = (self._streams.kernels, self._streams.nodes)
        missed = self._moves.news.missed
        await asyncio.gather(*[retrying(stream.key, partial(self._read, stream), missed) for stream in streams])

    async def _read(self, stream: Stream) -> None:
        """Take up what was begun and not recorded, then handle what is new until Redis or the database goes away."""
        await self._take_up(stream)
        claimed_at = time.monotonic()
        while True:
            await self._read_from(stream, NEW)
            if time.monotonic() - claimed_at > CLAIM_AFTER_MILLISECONDS / 1000:
                await self._claim(stream)
                claimed_at = time.monotonic()

    async def _take_up(self, stream: Stream) -> None:
        try:
            await self._redis.xgroup_create(stream.key, GROUP, id="0", mkstream=True)
        except ResponseError as err:
            if "BUSYGROUP" not in str(err):
                raise
        await self._claim(stream)
        while await self._read_from(stream, UNACKNOWLEDGED):
            pass

    async def _claim(self, stream: Stream) -> None:
        """Handle entries that another consumer was given long ago and never did; a node has said more since."""
        claimed: Any = await self._redis.xautoclaim(
            stream.key, GROUP, self._consumer, min_idle_time=CLAIM_AFTER_MILLISECONDS, count=BATCH
        )
        if stream == self._streams.nodes:
            await self._acknowledge(stream, claimed[1])
        else:
            await self._handle(stream, claimed[1])

    async def _read_from(self, stream: Stream, position: str) -> int:
        """Handle entries that are new, or that this consumer was given before it or its predecessor broke off."""
        read: Any = await self._redis.xreadgroup(
            GROUP, self._consumer, {stream.key: position}, count=BATCH, block=BLOCK_MILLISECONDS
        )
        for _, entries in read:
            await self._handle(stream, entries)
        return sum(len(entries) for _, entries in read)

    async def _handle(self, stream: Stream, entries: list[Entry]) -> None:
        queues: defaultdict[str, list[Event]] = defaultdict(list)
        for _, fields in entries:
            event = _event(fields)
            if isinstance(event, NodeEvent):
                queues[event.node] = [event]  # only a node's last word counts
            elif event is not None:
                queues[str(event.session)].append(event)
        async with asyncio.TaskGroup() as group:
            for queue in queues.values():
                group.create_task(self._in_order(queue))
        await self._acknowledge(stream, entries)

    async def _acknowledge(self, stream: Stream, entries: list[Entry]) -> None:
        if entries:
            with ACKNOWLEDGE:
                await self._redis.xack(stream.key, GROUP, *[entry for entry, _ in entries])

    async def _in_order(self, events: list[Event]) -> None:
        for event in events:
            try:
                await self._one(event)
            except SessionNotFoundError:
                log.info("event.of_unknown_session", type=event.type)
            except (CaravanError, IntegrityError, DataError):
                log.exception("event.impossible", type=event.type)  # one such event must not stop the others

    async def _one(self, event: Event) -> None:
        match event:
            case NodeHeartbeat():
                with HEARD:
                    await self._nodes.heard(event)
                await self._illnesses.heard(event)
            case NodeStopped():
                await self._nodes.stopped(event)
            case KernelStarted(session=session, kernel=kernel, container=container):
                with STARTED:
                    await self._moves.apply(session, lambda s, now: s.kernel_started(kernel, container, now))
            case KernelTerminated():
                with TERMINATED:
                    await self._moves.apply(event.session, partial(_terminated, event))
            case KernelCleaned():
                log.debug("kernel.cleaned", kernel=str(event.kernel))


def _terminated(event: KernelTerminated, session: Session, now: datetime) -> Session:
    return session.kernel_terminated(event.kernel, event.exit_code, event.reason, now, event.container)


def _event(fields: dict[bytes, bytes]) -> Event | None:
    try:
        return EVENT.validate_json(fields[b"event"])
    except (KeyError, ValidationError) as err:
        log.warning("event.unreadable", error=str(err))
        return None


class NomadWatcher:
    """Follows Nomad's event stream: the end of an allocation that no agent told of."""

    def __init__(self, client: aiohttp.ClientSession, address: str, namespace: str, moves: SessionMoves) -> None:
        self._client = client
        self._address = address
        self._namespace = namespace
        self._moves = moves

    async def run(self) -> None:
        """Follow for ever."""
        await retrying("nomad", self._follow, self._moves.news.missed)

    async def _follow(self) -> None:
        async for ended in allocations_ended(self._client, self._address, self._namespace):
            try:
                await self._record(ended)
            except SessionNotFoundError:
                log.info("allocation.of_unknown_session", session=str(ended.session))

    async def _record(self, ended: AllocationEnded) -> None:
        with ALLOCATION:
            await self._moves.apply(
                ended.session,
                lambda s, now: s.group_terminated(ended.group, ended.exit_code, ended.reason, now),
            )
