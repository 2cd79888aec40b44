"""Who leads, on the real Consul: one at a time, and after a crash the successor within seconds."""

import time
from uuid import uuid4

import pytest

from caravan_common.consul.leader import Leadership
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def consul(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the stack's Consul, whose token is in the environment."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", stack.tokens.consul_management)
    return stack.layout.url(stack.layout.ports.consul_http)


async def test_a_successor_leads_within_seconds_and_its_predecessor_no_more(consul: str) -> None:
    key, name = f"caravan/leader/test-{uuid4()}", f"manager-{uuid4()}"
    predecessor, successor = Leadership(consul, key, name), Leadership(consul, key, name)
    assert await predecessor.hold()
    began = time.monotonic()
    while not await successor.hold():
        assert time.monotonic() - began < 5
    assert await successor.hold()
    await successor.release()


async def test_another_waits_until_the_leader_gives_up(consul: str) -> None:
    key = f"caravan/leader/test-{uuid4()}"
    leader, other = Leadership(consul, key, f"a-{uuid4()}"), Leadership(consul, key, f"b-{uuid4()}")
    assert await leader.hold()
    assert not await other.hold()
    assert await leader.hold()
    await leader.release()
    began = time.monotonic()
    while not await other.hold():
        assert time.monotonic() - began < 5
    await other.release()
