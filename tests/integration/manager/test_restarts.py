"""Restarts in the manager, on a real PostgreSQL: asked for once, whoever dies on the way."""

# ruff: noqa: ASYNC110 - a test looks again and again

import asyncio
from datetime import timedelta

# ruff: noqa: ASYNC110 - a test looks again and again
import pytest
from tests.integration.manager.test_session_life import URL, Manager, manager, request

from caravan_common.errors import CaravanError
from caravan_common.ids import job_id
from caravan_common.states import SessionStatus
from caravan_manager.people.model import Principal
from caravan_manager.sessions import service
from caravan_manager.sessions.model import Session, SessionNotFoundError, SessionNotRunningError

__all__ = ["manager"]


async def running(manager: Manager, user: Principal) -> Session:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    session = await manager.started(made.id)
    manager.agents.running[session.main_kernel.id] = "c0ffee"
    assert (URL, session.main_kernel.id) in manager.agents.specs
    return session


async def starts(manager: Manager, session: Session, container: str) -> Session:
    kernel = session.main_kernel.id
    return await manager.moves.apply(session.id, lambda s, now: s.kernel_started(kernel, container, now))


async def restarting(manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Ask for a restart and do not wait for it."""
    monkeypatch.setattr(service, "RESTART_SECONDS", 0)
    return await manager.service.restart(user, "train")


async def test_a_restart_is_over_when_the_new_container_runs(manager: Manager, user: Principal) -> None:
    session = await running(manager, user)
    waiting = asyncio.create_task(manager.service.restart(user, "train"))
    async with asyncio.timeout(10):
        while not manager.nomad.restarted:
            await asyncio.sleep(0.01)
    assert (await manager.session(session.id)).status is SessionStatus.RESTARTING
    assert not waiting.done()
    await starts(manager, session, "new")
    after = await waiting
    assert (after.status, after.main_kernel.container_id) == (SessionStatus.RUNNING, "new")
    assert manager.nomad.restarted == [(job_id(session.id), "main1")]


async def test_asking_again_asks_nomad_once(manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    await running(manager, user)
    await asyncio.gather(*(restarting(manager, user, monkeypatch) for _ in range(4)))
    await manager.schedule()
    assert len(manager.nomad.restarted) == 1


async def test_a_restart_that_a_dying_manager_only_recorded_is_asked_for_by_another(
    manager: Manager, user: Principal
) -> None:
    session = await running(manager, user)
    await manager.moves.apply(session.id, lambda s, now: s.restarting(now))
    await manager.schedule()
    assert manager.nomad.restarted == []  # whoever recorded it is about to ask
    manager.clock.now += timedelta(seconds=6)
    await manager.schedule()
    await manager.schedule()
    assert len(manager.nomad.restarted) == 1


async def test_a_restart_that_may_have_been_asked_for_is_asked_for_again_only_while_the_old_container_runs(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await running(manager, user)
    await restarting(manager, user, monkeypatch)
    del manager.agents.running[session.main_kernel.id]  # the old one is gone, the new one is being made
    for _ in range(3):
        manager.clock.now += timedelta(seconds=26)
        await manager.schedule()
    assert len(manager.nomad.restarted) == 1
    manager.agents.running[session.main_kernel.id] = "c0ffee"  # nobody heard the first time
    manager.clock.now += timedelta(seconds=26)
    await manager.schedule()
    assert len(manager.nomad.restarted) == 2


async def test_a_new_container_whose_start_nobody_told_is_found(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await running(manager, user)
    await restarting(manager, user, monkeypatch)
    manager.agents.running[session.main_kernel.id] = "new"
    manager.clock.now += timedelta(seconds=26)
    await manager.schedule()
    after = await manager.session(session.id)
    assert (after.status, after.main_kernel.container_id) == (SessionStatus.RUNNING, "new")
    assert len(manager.nomad.restarted) == 1


@pytest.mark.parametrize("outage", ["nomad", "agents"])
async def test_a_restart_outlives_an_outage(
    outage: str, manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await running(manager, user)
    away = getattr(manager, outage)
    away.silent = True
    await restarting(manager, user, monkeypatch)
    manager.clock.now += timedelta(seconds=26)
    await manager.schedule()
    away.silent = False
    manager.clock.now += timedelta(seconds=26)
    await manager.schedule()
    assert len(manager.nomad.restarted) >= 1
    assert (await starts(manager, session, "new")).status is SessionStatus.RUNNING


async def test_a_restart_that_never_ends_is_an_error(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await running(manager, user)
    await restarting(manager, user, monkeypatch)
    manager.clock.now += timedelta(minutes=16)
    await manager.sweeper.sweep_jobs()
    assert (await manager.session(session.id)).status is SessionStatus.ERROR
    assert manager.nomad.jobs[job_id(session.id)].stopped


async def test_only_what_runs_can_be_restarted(manager: Manager, user: Principal) -> None:
    await manager.service.create(user, request())
    with pytest.raises(SessionNotRunningError):
        await manager.service.restart(user, "train")
    await manager.service.destroy(user, "train", forced=True)
    for gone in ("train", "nobody"):
        with pytest.raises(SessionNotFoundError):
            await manager.service.restart(user, gone)


async def test_other_peoples_sessions_are_not_restarted(manager: Manager, user: Principal, admin: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(admin, request())).session
    await manager.started(made.id)
    with pytest.raises(CaravanError):
        await manager.service.restart(user, str(made.id))
