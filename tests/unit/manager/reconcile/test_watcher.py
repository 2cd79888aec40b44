"""The watchers outlive outages, alone or several at once, and stop at what they do not know."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from caravan_common import service
from caravan_common.errors import UnavailableError
from caravan_common.wire.events import Streams
from caravan_manager.reconcile import watcher
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews


@pytest.mark.parametrize(
    "outage",
    [
        RedisConnectionError("gone"),
        UnavailableError("Nomad does not answer"),
        ConnectionRefusedError("PostgreSQL"),
        ExceptionGroup("several", [OSError("PostgreSQL"), TimeoutError("PostgreSQL")]),
    ],
)
async def test_an_outage_is_waited_out_and_a_mistake_is_not_hidden(
    outage: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "FIRST_PAUSE_SECONDS", 0.01)
    tries = []
    missed = asyncio.Event()

    async def act() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise outage
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await watcher.retrying("test", act, missed)
    assert len(tries) == 3
    assert missed.is_set()


class Forgetful:
    """A Redis whose library loses the first cancellation of each reader, as it can under Python 3.11."""

    def __init__(self) -> None:
        self.lost = 0

    async def xgroup_create(self, *_: object, **__: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if self.lost >= 2:
                raise
            self.lost += 1
            raise RedisConnectionError("timed out") from None


async def test_a_cancellation_that_gets_lost_is_repeated_until_the_watcher_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "CANCEL_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(watcher, "FIRST_PAUSE_SECONDS", 0)
    redis: Any = Forgetful()
    nothing: Any = None
    moves = SessionMoves(nothing, SessionNews(), nothing)
    agents = watcher.AgentWatcher(redis, Streams.of("events"), "manager", nothing, nothing, moves)
    reading = asyncio.create_task(agents.run())
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await service.end([reading])
    assert redis.lost == 2
