"""Limits on a real Redis: managers share them, the window rolls, Redis may go and come back."""

import time
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.integration.redis_server import RedisServer

from caravan_common.errors import TooManyRequestsError
from caravan_manager.api import limits
from caravan_manager.api.limits import PREFIX, RateLimits, subject_of_address


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncGenerator[Redis, None]:
    client = Redis(host="127.0.0.1", port=redis_server.port, socket_connect_timeout=1)
    yield client
    await client.aclose()


def _limits(redis: Redis) -> RateLimits:
    return RateLimits(redis, time.monotonic)


def _refused(counting: RateLimits, subject: str, limit: int) -> bool:
    try:
        counting.admit(subject, limit)
    except TooManyRequestsError:
        return True
    return False


async def test_managers_share_a_limit(redis: Redis) -> None:
    here, there = _limits(redis), _limits(redis)
    for _ in range(6):
        here.admit("keypair:a", 10)
    for _ in range(3):
        there.admit("keypair:a", 10)
    await here.share()
    await there.share()
    assert there.admit("keypair:a", 10).remaining == 0
    assert _refused(there, "keypair:a", 10)
    await there.share()
    here.admit("keypair:a", 11)
    await here.share()
    assert _refused(here, "keypair:a", 11)
    assert not _refused(here, "keypair:b", 11)


async def test_the_window_rolls(redis: Redis) -> None:
    now = int((await redis.time())[0])
    bucket = now // limits.BUCKET_SECONDS
    kept = limits.WINDOW_SECONDS // limits.BUCKET_SECONDS
    await redis.hset(
        PREFIX + "keypair:a", mapping={str(bucket - kept - 1): 7, str(bucket - kept): 5, str(bucket - 3): 2}
    )
    counting = _limits(redis)
    counting.admit("keypair:a", 100)
    await counting.share()
    standing = counting.admit("keypair:a", 100)
    assert standing.remaining == 100 - 5 - 2 - 1 - 1
    assert 0 < standing.reset <= limits.BUCKET_SECONDS
    assert await redis.hkeys(PREFIX + "keypair:a") == [
        str(bucket - kept).encode(),
        str(bucket - 3).encode(),
        str(bucket).encode(),
    ]


async def test_a_caller_is_forgotten_after_the_window(redis: Redis) -> None:
    clock = [0.0]
    counting = RateLimits(redis, lambda: clock[0])
    for number in range(450):
        counting.admit(f"keypair:{number}", 10)
    await counting.share()
    assert 0 < await redis.ttl(PREFIX + "keypair:449") <= limits.WINDOW_SECONDS + limits.BUCKET_SECONDS
    assert counting.known == 450
    clock[0] = limits.WINDOW_SECONDS + 1.0
    await counting.share()
    assert counting.known == 0


async def test_memory_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CAPACITY", 10)
    counting = _limits(redis)
    for number in range(50):
        counting.admit(f"address:{number}", 10)
    assert counting.known == 10


async def test_while_redis_is_away_everybody_comes_in_and_it_is_said_once(
    redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = _limits(redis)
    for _ in range(2):
        counting.admit("keypair:a", 2)
    assert _refused(counting, "keypair:a", 2)
    await redis_server.stop()
    before = limits.UNCOUNTED._value.get()
    with capture_logs() as said:
        with monkeypatch.context() as impatient:
            impatient.setattr(limits, "ANSWER_SECONDS", 0.2)
            await counting.share()
            await counting.share()
        assert [counting.admit("keypair:a", 2).remaining for _ in range(5)] == [2] * 5
        await redis_server.start()
        await counting.share()
    assert [line["event"] for line in said] == ["limits.not_counting", "limits.counting"]
    assert limits.UNCOUNTED._value.get() - before == 5
    for _ in range(2):
        counting.admit("keypair:a", 2)
    assert _refused(counting, "keypair:a", 2)


async def test_counting_goes_on_while_redis_answers(redis: Redis) -> None:
    counting = _limits(redis)
    counting.admit("keypair:a", 10)
    sharing = counting.share()
    counting.admit("keypair:a", 10)
    await sharing
    await counting.share()
    assert counting.admit("keypair:a", 10).remaining == 7


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", "address:192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "address:2001:db8:0:1::"),
        ("nonsense", "address:unknown"),
        (None, "address:unknown"),
    ],
)
def test_strangers_have_a_name_by_address(address: str | None, subject: str) -> None:
    assert subject_of_address(address) == subject
