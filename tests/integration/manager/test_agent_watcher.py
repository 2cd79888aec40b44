"""The agents' streams, on a real Redis and PostgreSQL: what the manager finds after it was away."""

# ruff: noqa: ASYNC110 - a test looks again and again

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from redis.asyncio import Redis
from tests.integration.redis_server import RedisServer

from caravan_common.service import end
from caravan_common.states import NodeStatus
from caravan_common.wire.events import EVENT, Event, KernelTerminated, NodeHeartbeat, NodeStopped, Streams
from caravan_manager.db.engine import Begin
from caravan_manager.nodes import repository
from caravan_manager.nodes.service import NodesService
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.reconcile.watcher import AgentWatcher
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews

STREAMS = Streams.of("caravan:events")
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
MANY = "for i = 1, ARGV[2] do redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[3]) end"
"""Writes the same event so many times."""


def heartbeat(node: UUID, version: str = "1") -> NodeHeartbeat:
    return NodeHeartbeat(
        at=NOW,
        node=str(node),
        name=f"n-{node}",
        scaling_group="default",
        architecture="x86_64",
        version=version,
        url="http://127.0.0.1:6011",
        region="local",
        slots={"cpu": "1", "mem": "1"},
        images=[],
    )


async def write(redis: Redis, *events: Event) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for event in events:
            stream = STREAMS.carrying(event)
            content = {"event": EVENT.dump_json(event)}
            pipeline.xadd(stream.key, content, maxlen=stream.length, approximate=True)  # type: ignore[arg-type]
        await pipeline.execute()


@asynccontextmanager
async def watching(redis: Redis, begin: Begin) -> AsyncIterator[None]:
    moves = SessionMoves(begin, SessionNews(), lambda: NOW)
    watcher = AgentWatcher(redis, STREAMS, "m", NodesService(begin), Illnesses(moves), moves)
    watching = asyncio.create_task(watcher.run())
    try:
        yield
    finally:
        await end([watching])


async def test_no_number_of_heartbeats_loses_the_end_of_a_kernel(redis_server: RedisServer, begin: Begin) -> None:
    redis = Redis(host="127.0.0.1", port=redis_server.port)
    end = KernelTerminated(at=NOW, node=str(uuid4()), session=uuid4(), kernel=uuid4(), exit_code=0, reason="finished")
    one, other = uuid4(), uuid4()
    await write(redis, end)
    beat = EVENT.dump_json(heartbeat(uuid4()))
    for _ in range(12):  # ten minutes of a thousand nodes without a manager
        await redis.eval(MANY, 1, STREAMS.nodes.key, STREAMS.nodes.length, 10_000, beat)
    await write(redis, heartbeat(one))
    async with watching(redis, begin), asyncio.timeout(60):
        while await known(begin, one) is None:
            await asyncio.sleep(0.05)
    await write(redis, heartbeat(other, "1"), heartbeat(other, "2"), NodeStopped(at=NOW, node=str(one)))
    async with watching(redis, begin), asyncio.timeout(60):
        while await known(begin, other) != ("2", NodeStatus.ALIVE) or await read_of_kernels(redis) != 1:
            await asyncio.sleep(0.05)
    assert await known(begin, one) == ("1", NodeStatus.TERMINATED)
    assert await redis.xlen(STREAMS.nodes.key) < 1.1 * STREAMS.nodes.length
    await redis.aclose()


async def test_a_successor_handles_at_once_what_its_predecessor_was_given_and_did_not_record(
    redis_server: RedisServer, begin: Begin
) -> None:
    redis = Redis(host="127.0.0.1", port=redis_server.port)
    node = uuid4()
    await redis.xgroup_create(STREAMS.nodes.key, "manager", id="0", mkstream=True)
    await write(redis, heartbeat(node))
    await redis.xreadgroup("manager", "m", {STREAMS.nodes.key: ">"})  # and here it dies
    async with watching(redis, begin), asyncio.timeout(10):
        while await known(begin, node) is None:
            await asyncio.sleep(0.02)
        while (await redis.xpending(STREAMS.nodes.key, "manager"))["pending"]:
            await asyncio.sleep(0.02)
    await redis.aclose()


async def known(begin: Begin, node: UUID) -> tuple[str, NodeStatus] | None:
    async with begin() as tx:
        found = await repository.list_nodes(tx, name=f"n-{node}")
    return (found[0].version, found[0].status) if found else None


async def read_of_kernels(redis: Redis) -> int:
    (group,) = await redis.xinfo_groups(STREAMS.kernels.key)
    return int(group["entries-read"] or 0)
