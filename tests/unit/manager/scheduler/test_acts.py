"""Acts of the scheduler beside its passes: once at a time for a session, some at once for a node."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from tests.unit.manager.sessions_made import pending, submitted

from caravan_common.errors import UnavailableError
from caravan_manager.scheduler.acts import Acts
from caravan_manager.sessions.model import Session


@dataclass
class Doer:
    """Acts on sessions until it is let go on."""

    begun: list[UUID] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def act(self, session: Session) -> None:
        self.begun.append(session.id)
        await self.go_on.wait()


async def test_what_is_under_way_is_not_begun_again_and_its_end_wakes() -> None:
    woken, doer, session = asyncio.Event(), Doer(), pending()
    acts = Acts(woken.set)
    for _ in range(3):
        acts.begin("start", [session], doer.act)
        await asyncio.sleep(0)
    assert doer.begun == [session.id]
    assert not woken.is_set()
    doer.go_on.set()
    await acts.settled()
    assert woken.is_set()
    acts.begin("start", [session], doer.act)
    await acts.settled()
    assert doer.begun == [session.id, session.id]


async def test_nobody_is_woken_when_nobody_asked_again() -> None:
    woken, doer = asyncio.Event(), Doer()
    doer.go_on.set()
    acts = Acts(woken.set)
    acts.begin("start", [pending()], doer.act)
    await acts.settled()
    assert not woken.is_set()


async def test_acts_of_two_kinds_for_a_session_do_not_wait_for_each_other() -> None:
    start, stop, session = Doer(), Doer(), pending()
    acts = Acts(lambda: None)
    acts.begin("start", [session], start.act)
    acts.begin("stop", [session], stop.act)
    await asyncio.sleep(0.01)
    assert (start.begun, stop.begun) == ([session.id], [session.id])
    await acts.cancel()


async def test_a_silent_node_holds_up_its_own_sessions_only() -> None:
    doer, waiting = Doer(), [submitted(pending()) for _ in range(3)]
    elsewhere = pending()
    acts = Acts(lambda: None, at_once=2)
    acts.begin("start", waiting, doer.act)
    acts.begin("start", [elsewhere], doer.act)
    await asyncio.sleep(0.01)
    assert doer.begun == [waiting[0].id, waiting[1].id, elsewhere.id]
    doer.go_on.set()
    await acts.settled()
    assert len(doer.begun) == 4


@pytest.mark.parametrize("error", [UnavailableError("away"), RuntimeError("a bug")])
async def test_an_act_that_fails_keeps_no_other(error: Exception) -> None:
    done: list[UUID] = []
    bad, good = pending(), pending()

    async def act(session: Session) -> None:
        if session is bad:
            raise error
        done.append(session.id)

    acts = Acts(lambda: None)
    acts.begin("start", [bad, good], act)
    await acts.settled()
    assert done == [good.id]


async def test_an_act_that_fails_wakes_nobody_although_it_was_asked_for_again() -> None:
    woken, go_on = asyncio.Event(), asyncio.Event()
    acts, session = Acts(woken.set), pending()

    async def act(_: Session) -> None:
        await go_on.wait()
        raise UnavailableError("away")

    for _ in range(2):
        acts.begin("start", [session], act)
        await asyncio.sleep(0)
    go_on.set()
    await acts.settled()
    assert not woken.is_set()


async def test_one_kind_does_not_wait_for_another_kinds_places() -> None:
    start, stop, sessions = Doer(), Doer(), [submitted(pending()) for _ in range(2)]
    acts = Acts(lambda: None, at_once=1)
    acts.begin("start", sessions, start.act)
    acts.begin("stop", sessions[1:], stop.act)
    await asyncio.sleep(0.01)
    assert (start.begun, stop.begun) == ([sessions[0].id], [sessions[1].id])
    await acts.cancel()


async def test_draining_lets_acts_end_for_a_while_and_then_ends_them() -> None:
    quick, slow = Doer(), Doer()
    acts = Acts(lambda: None)
    acts.begin("start", [pending()], quick.act)
    acts.begin("stop", [pending()], slow.act)
    asyncio.get_running_loop().call_later(0.01, quick.go_on.set)
    async with asyncio.timeout(2):
        await acts.drain(0.1)
        await acts.settled()
    assert len(quick.begun) == len(slow.begun) == 1
