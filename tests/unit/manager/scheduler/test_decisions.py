"""What is kept of passes, how it is planned again, and that none of it stands in the way of a pass."""

import asyncio
import zlib
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from tests.unit.manager.scheduler.made import NOW, gpus, node, session, slots, tenant

from caravan_common.states import SessionResult, SessionStatus
from caravan_manager.scheduler import metrics
from caravan_manager.scheduler.decisions.log import MOST_WAITING, DecisionLog, Keep
from caravan_manager.scheduler.decisions.packed import PackedPass, without_names
from caravan_manager.scheduler.decisions.replay import first_difference, replay
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.sequencers.sequencer import Past
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Plan, Snapshot
from caravan_manager.sessions.model import Parent
from caravan_manager.sessions.queue import PendingSession


class DriverUUID(UUID):
    """As PostgreSQL's driver has one."""


SECRET = "wedding present"


def taken(*pending: PendingSession, nodes: tuple[NodeView, ...] = (), **group: str) -> Snapshot:
    return Snapshot(NOW, nodes or (node("n1", 64, 256, *gpus(2)),), pending, groups=(GroupView("default", **group),))


def planned(snapshot: Snapshot) -> Plan:
    return plan(snapshot, find_plugins())


def packed(snapshot: Snapshot) -> PackedPass:
    return PackedPass.of(snapshot, planned(snapshot))


def child(number: int, *statuses: SessionStatus) -> PendingSession:
    parents = tuple(
        Parent(UUID(int=n), f"{SECRET} {9 - n}", status, SessionResult.UNDEFINED) for n, status in enumerate(statuses)
    )
    return session(number, slots(), parents=parents)


def test_a_pass_comes_back_as_it_was() -> None:
    snapshot = taken(session(1, slots(1, 1, cuda_shares=0.3)), session(2, slots(1, 1, cuda_shares=3)))
    kept = packed(snapshot)
    assert (kept.pending, kept.placed, kept.placements, kept.waits) == (2, 0, 1, 1)
    assert kept.unpack_snapshot() == snapshot
    assert kept.unpack_decisions() == planned(snapshot)


def test_a_pass_later_with_the_same_in_it_says_the_same() -> None:
    snapshot = taken(session(1, slots(cpu=100)))
    assert packed(snapshot).says_the_same_as(packed(replace(snapshot, taken_at=NOW + timedelta(seconds=2))))
    assert not packed(snapshot).says_the_same_as(packed(taken(session(1, slots(cpu=101)))))


def test_names_of_sessions_are_not_kept_and_the_plan_is_the_same() -> None:
    waiting = child(1, SessionStatus.RUNNING, SessionStatus.PENDING, SessionStatus.RUNNING)
    ending = child(2, SessionStatus.CANCELLED, SessionStatus.ERROR)
    snapshot = taken(waiting, ending)
    nameless, decided = without_names(snapshot, planned(snapshot))
    assert planned(nameless) == decided
    assert decided.waits[0].about[0] == f"000000 ({UUID(int=2)})"
    assert SECRET not in repr((nameless, decided))
    assert replay(packed(snapshot), find_plugins()).difference is None


def test_identifiers_as_the_database_gives_them_are_kept() -> None:
    snapshot = taken(session(1, slots(), id=DriverUUID(int=1)))
    kept = packed(replace(snapshot, past=(("default", Past({DriverUUID(int=7): 0.5}, {DriverUUID(int=8): 0.25})),)))
    assert kept.unpack_snapshot().past == (("default", Past({UUID(int=7): 0.5}, {UUID(int=8): 0.25})),)
    assert kept.unpack_snapshot().pending == snapshot.pending


def test_what_another_version_kept_in_another_form_is_told() -> None:
    kept = replace(packed(taken(session(1, slots()))), decisions=zlib.compress(b'{"placements":7}'))
    assert "cannot be read" in str(replay(kept, find_plugins()).difference)


def test_a_pass_is_planned_again_the_same() -> None:
    assert replay(packed(taken(session(1, slots()), session(2, slots(cpu=99)))), find_plugins()).difference is None


def test_another_decision_is_named() -> None:
    kept = packed(taken(session(1, slots()), nodes=(node("n1"), node("n2")), selector="dispersed"))
    known = find_plugins()
    others = Plugins(known.sequencers, {name: make for name, make in known.selectors.items() if name != "dispersed"})
    again = replay(kept, others)
    assert again.difference == (
        'troubles[0]: nothing became {"plugin":"dispersed","error":"there is no such selector"}'
    )


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"a": [1, 2]}, {"a": [1, 2]}, None),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a[1]: 2 became 3"),
        ({"a": [1]}, {"a": [1, {"b": 2}]}, 'a[1]: nothing became {"b":2}'),
        ({"a": 1, "b": 2}, {"a": 1}, "b: 2 became nothing"),
        ({"a": {"b": 1}}, {"a": [1]}, 'a: {"b":1} became [1]'),
    ],
)
def test_the_first_difference_is_said(was: object, now: object, said: str | None) -> None:
    assert first_difference(was, now) == said


def unreachable() -> object:
    raise ConnectionError("the database is away")


async def test_a_pass_does_not_notice_that_it_cannot_be_kept() -> None:
    log = DecisionLog(unreachable, Keep(timedelta(days=1), 2**20), lambda: NOW)  # type: ignore[arg-type]
    before = _not_kept()
    snapshot = taken(session(1, slots()))
    for _ in range(MOST_WAITING + 1):
        log.record(snapshot, planned(snapshot))
    assert _not_kept() == before + 1
    await log.write()
    assert _not_kept() == before + 1 + MOST_WAITING


async def test_nothing_is_kept_of_an_empty_queue_or_without_room() -> None:
    idle = Snapshot(NOW, (), ())
    busy = taken(session(1, slots(), tenant=tenant(2)))
    before = _not_kept()
    for most_bytes, snapshot in ((2**20, idle), (0, busy)):
        log = DecisionLog(unreachable, Keep(timedelta(days=1), most_bytes), lambda: NOW)  # type: ignore[arg-type]
        log.record(snapshot, planned(snapshot))
        await log.write()
    assert _not_kept() == before


async def test_the_log_goes_on_where_old_passes_cannot_be_removed() -> None:
    log = DecisionLog(unreachable, Keep(timedelta(days=1), 2**20), lambda: NOW)  # type: ignore[arg-type]
    running = asyncio.create_task(log.run())
    before = _not_kept()
    await asyncio.sleep(0)
    snapshot = taken(session(1, slots()))
    log.record(snapshot, planned(snapshot))
    for _ in range(200):
        if _not_kept() > before:
            break
        await asyncio.sleep(0.05)
    assert (_not_kept(), running.done()) == (before + 1, False)
    running.cancel()


def _not_kept() -> float:
    return metrics.PASSES_NOT_KEPT._value.get()
