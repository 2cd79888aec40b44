"""The watchers outlive outages, alone or several at once, and stop at what they do not know."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from caravan_common.errors import UnavailableError
from caravan_manager.reconcile import watcher


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

    async def act() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise outage
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await watcher.retrying("test", act)
    assert len(tries) == 3
