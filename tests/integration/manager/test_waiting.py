"""Requests that wait for a session, over HTTP: what is left of one whose client goes away."""

# ruff: noqa: ASYNC110 - a test looks again and again

import asyncio
from collections.abc import AsyncGenerator

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, text
from tests.integration.manager.api import Caller, Http, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, kernels, sessions
from caravan_manager.sessions import service


@pytest.fixture
async def client(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Http, None]:
    monkeypatch.setattr(service, "POLL_SECONDS", 0.1)
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: Http, seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


def body(seed: Seed, name: str) -> dict[str, object]:
    return {"name": name, "image": seed.image_reference, "config": {"resources": {"cpu": "1", "mem": "256m"}}}


async def leave_after(seconds: float, me: Caller, wish: dict[str, object]) -> None:
    """Send a request, and close the connection when there is no answer after so long."""
    try:
        async with asyncio.timeout(seconds):
            await me.call("POST", "/session", wish)
    except TimeoutError:
        return


async def waiters(expected: int) -> None:
    """Return when so many requests wait."""
    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("caravan_session_waiters") != expected:
            await asyncio.sleep(0.02)


async def test_a_request_waits_for_as_long_as_its_client_stays(me: Caller, seed: Seed) -> None:
    stays = asyncio.create_task(me.call("POST", "/session", body(seed, "stays")))
    await waiters(1)
    leaves = asyncio.create_task(me.call("POST", "/session", body(seed, "leaves")))
    await waiters(2)
    leaves.cancel()
    await waiters(1)
    status, told = await me.call("GET", "/session/leaves")
    assert (status, told["status"]) == (200, "PENDING")
    await me.call("DELETE", "/session/stays")
    async with asyncio.timeout(10):
        assert (await stays)[0] == 404  # it ended before it ran
    await waiters(0)


async def test_a_session_whose_client_goes_away_is_made_whole_or_not_at_all(
    me: Caller, seed: Seed, begin: Begin
) -> None:
    for n in range(25):
        await leave_after(n * 0.01, me, body(seed, f"train{n}"))
    async with begin() as tx:
        await tx.execute(text("set transaction isolation level repeatable read"))
        made = sorted((await tx.scalars(select(sessions.c.id))).all())
        assert sorted((await tx.scalars(select(kernels.c.session_id))).all()) == made
        audited = select(audit_log.c.target).where(audit_log.c.action == "session.create")
        assert sorted((await tx.scalars(audited)).all()) == sorted(map(str, made))
    assert made
    await waiters(0)
