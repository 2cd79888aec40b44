"""Who leads, on the real Consul and in memory: one at a time, and after a crash the successor within seconds."""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from tests.fakes.leader import FakeLeader, Holders

from caravan_common.consul.leader import Leader, Leadership
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def consul(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the stack's Consul, whose token is in the environment."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", stack.tokens.consul_management)
    return stack.layout.url(stack.layout.ports.consul_http)


Make = Callable[[str, str], Leader]
"""Makes a leader from a key and a name."""


@pytest.fixture(params=["consul", "memory"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        holders: Holders = {}
        return lambda key, name: FakeLeader(key, name, holders)
    address: str = request.getfixturevalue("consul")
    return lambda key, name: Leadership(address, key, name)


async def test_a_successor_leads_within_seconds_and_its_predecessor_no_more(consul: str) -> None:
    key, name = f"caravan/leader/test-{uuid4()}", f"manager-{uuid4()}"
    predecessor, successor = Leadership(consul, key, name), Leadership(consul, key, name)
    assert await predecessor.hold()
    began = time.monotonic()
    while not await successor.hold():
        assert time.monotonic() - began < 5
    assert await successor.hold()
    await successor.release()


async def test_many_who_ask_at_once_ask_consul_once(consul: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, asked = Leadership(consul, f"caravan/leader/test-{uuid4()}", f"manager-{uuid4()}"), []
    hold = leader._hold
    monkeypatch.setattr(leader, "_hold", lambda: asked.append(1) or hold())
    assert await asyncio.gather(*[leader.hold() for _ in range(50)]) == [True] * 50
    assert len(asked) == 1
    await leader.release()


async def test_another_waits_until_the_leader_gives_up(make: Make) -> None:
    key = f"caravan/leader/test-{uuid4()}"
    leader, other = make(key, f"a-{uuid4()}"), make(key, f"b-{uuid4()}")
    assert await leader.hold()
    assert not await other.hold()
    assert await leader.hold()
    await leader.release()
    began = time.monotonic()
    while not await other.hold():
        assert time.monotonic() - began < 5
    await other.release()
