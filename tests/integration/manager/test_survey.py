"""What looks at many sessions at once, on a real PostgreSQL: what it finds, and what it leaves unread."""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from math import log
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, select, update
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_session_life import Manager, request
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414
from tests.unit.manager.sessions_made import pending, queued

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionStatus
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import sessions
from caravan_manager.people.model import Principal
from caravan_manager.scheduler.reading import read_snapshot
from caravan_manager.sessions import repository, survey
from caravan_manager.sessions.model import Seat, Session, SessionMount


@pytest.fixture
def statements() -> Generator[list[str], None, None]:
    """The SQL that transactions sent."""
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def mount(host: str) -> SessionMount:
    folder = uuid4()
    return SessionMount(folder.hex, folder, host, "user:1", PurePosixPath(), PurePosixPath(f"/{folder}"), "rw")


async def add(begin: Begin, seed: Seed, **changes: object) -> Session:
    owned: dict[str, Any] = {"user_id": seed.user.user_id, "access_key": seed.user.access_key}
    session = replace(pending(3), **(owned | {"name": uuid4().hex, "project_id": seed.project} | changes))
    async with begin() as tx:
        await repository.add(tx, session)
    return session


async def sequence(begin: Begin, session: Session) -> int:
    async with begin() as tx:
        number: int = (await tx.execute(select(sessions.c.sequence).where(sessions.c.id == session.id))).scalar_one()
        return number


async def test_the_queue_tells_what_a_place_depends_on(manager: Manager, seed: Seed) -> None:
    await add(manager.begin, seed)
    mounts = (mount("local:volume1"), mount("local:volume2"), mount("local:volume1"))
    session = await add(manager.begin, seed, mounts=mounts, cluster_mode=ClusterMode.MULTI_NODE, priority=20)
    async with manager.begin() as tx:
        found = await survey.list_queue(tx, manager.clock())
    assert found[0] == queued(session, await sequence(manager.begin, session))
    assert found[0].session.sequence > found[1].session.sequence


async def test_however_long_the_queue_is_its_bound_hides_no_higher_priority(manager: Manager, seed: Seed) -> None:
    low, high, also_high = [await add(manager.begin, seed, priority=n) for n in (10, 30, 30)]
    async with manager.begin() as tx:
        assert [s.id for s in await survey.list_queue(tx, manager.clock(), 2)] == [high.id, also_high.id]
        assert [s.id for s in await survey.list_queue(tx, manager.clock())] == [high.id, also_high.id, low.id]


async def test_what_waits_for_its_time_or_for_other_sessions_hides_nothing_that_could_start(
    manager: Manager, seed: Seed
) -> None:
    parent = await add(manager.begin, seed, priority=50)
    child = replace(pending(1), name="child", user_id=seed.user.user_id, access_key=seed.user.access_key, priority=40)
    child = replace(child, project_id=seed.project)
    async with manager.begin() as tx:
        await repository.add(tx, child, [parent.id])
    later = await add(manager.begin, seed, priority=40, starts_at=manager.clock() + timedelta(hours=1))
    due = await add(manager.begin, seed, priority=5, starts_at=manager.clock())
    async with manager.begin() as tx:
        assert [s.id for s in await survey.list_queue(tx, manager.clock(), 2)] == [parent.id, due.id]
        assert len(await survey.list_queue(tx, manager.clock())) == 4
    await manager.moves.apply(parent.id, lambda s, now: s.destroyed("user-requested", now))
    async with manager.begin() as tx:  # it can never start, and is cancelled only if it is looked at
        found = await survey.list_queue(tx, later.starts_at or manager.clock(), 2)
    assert [s.id for s in found] == [child.id, later.id]


async def test_nobodys_long_list_hides_the_sessions_of_others(manager: Manager, seed: Seed) -> None:
    greedy = [await add(manager.begin, seed, priority=90) for _ in range(4)]
    modest = await add(manager.begin, seed, priority=1, user_id=seed.admin.user_id, access_key=seed.admin.access_key)
    async with manager.begin() as tx:
        found = [s.id for s in await survey.list_queue(tx, manager.clock(), 3)]
    assert found == [greedy[0].id, greedy[1].id, modest.id]


async def test_what_holds_nodes_tells_which_attempt_and_whether_it_can_be_ended_now(
    manager: Manager, seed: Seed, user: Principal
) -> None:
    await manager.add_node()
    running = (await manager.service.create(user, request())).session
    await manager.schedule()
    await manager.started(running.id)
    async with manager.begin() as tx:
        (found,) = await survey.list_placed(tx)
    assert (found.attempt, found.is_unsettled) == (1, False)
    await manager.moves.apply(running.id, lambda s, now: s.restarting(now))
    async with manager.begin() as tx:
        assert [one.is_unsettled for one in await survey.list_placed(tx)] == [True]


async def test_the_endpoint_of_a_replica_is_known_in_the_queue_on_its_node_and_queued_again(
    manager: Manager, seed: Seed
) -> None:
    endpoint = uuid4()
    await manager.add_node()
    replica, plain = [await add(manager.begin, seed, endpoint=one) for one in (endpoint, None)]
    async with manager.begin() as tx:
        queue = {q.id: q.session.endpoint for q in await survey.list_queue(tx, manager.clock())}
        assert (await repository.get(tx, replica.id)).endpoint == endpoint
    assert queue == {replica.id: endpoint, plain.id: None}
    seats = {kernel.id: Seat("node1") for one in (replica, plain) for kernel in one.kernels}
    for one in (replica, plain):
        await manager.moves.apply(one.id, lambda s, now: s.scheduled(seats, now))
    async with manager.begin() as tx:
        assert {one.id: one.endpoint for one in await survey.list_placed(tx)} == queue
    fresh = [uuid4() for _ in replica.kernels]
    await manager.moves.apply(replica.id, lambda s, now: s.requeued("node-lost", fresh, now))
    async with manager.begin() as tx:
        assert [q.session.endpoint for q in await survey.list_queue(tx, manager.clock())] == [endpoint]


async def test_a_place_in_the_queue_is_the_order_of_submission_in_each_snapshot(manager: Manager, seed: Seed) -> None:
    early, late = [await add(manager.begin, seed, priority=n) for n in (10, 30)]
    async with manager.begin() as tx:
        _, before = await read_snapshot(tx, manager.clock())
    await manager.moves.apply(late.id, lambda s, now: s.destroyed("user-requested", now))
    async with manager.begin() as tx:
        _, after = await read_snapshot(tx, manager.clock())
    places = {request.id: request.sequence for request in before.pending}
    assert places[early.id] < places[late.id]
    assert [request.sequence for request in after.pending] == [places[early.id]]


async def test_neither_the_queue_nor_the_sweep_reads_what_users_wrote(
    manager: Manager, user: Principal, statements: list[str]
) -> None:
    await manager.add_node(cpu="1")
    for name in ("runs", "waits"):
        await manager.service.create(user, request(name))
        await manager.schedule()
    statements.clear()
    async with manager.begin() as tx:
        waiting, _ = await read_snapshot(tx, manager.clock())
    assert len(waiting) == 1
    await manager.sweeper.sweep_jobs()
    await manager.sweeper.sweep_nodes()
    text = ("startup_command", "bootstrap_script", "environ", "callback_url")
    assert [statement for statement in statements if any(column in statement for column in text)] == []


async def test_the_sweep_awaits_the_kernels_that_have_not_been_told_to_run(manager: Manager, seed: Seed) -> None:
    await manager.add_node()
    made = await add(manager.begin, seed)
    async with manager.begin() as tx:
        assert await survey.list_awaited(tx) == {}
    await manager.schedule()
    first, second, third = made.kernels
    await manager.moves.apply(made.id, lambda s, now: s.kernel_started(first.id, "c0ffee", now))
    async with manager.begin() as tx:
        assert await survey.list_awaited(tx) == {second.id: made.id, third.id: made.id}
        (state,) = await survey.list_states(tx, [SessionStatus.PREPARING])
        assert (state.id, state.status_changed) == (made.id, manager.clock())
        assert await survey.list_states(tx, [SessionStatus.RUNNING]) == []


async def test_what_was_had_lately_decays_by_half_lives_and_goes_on_for_those_that_run(
    manager: Manager, seed: Seed
) -> None:
    now = manager.clock()
    hour = timedelta(hours=1)
    wants = ResourceSlots.parse({"cpu": "2", "mem": "1g"})
    ended = {"status": SessionStatus.TERMINATED, "scheduled_at": now - 3 * hour, "terminated_at": now - 2 * hour}
    running = {"status": SessionStatus.RUNNING, "scheduled_at": now - hour}
    forgotten = {"scheduled_at": now - 30 * hour, "terminated_at": now - 29 * hour, "status": SessionStatus.TERMINATED}
    for one in (ended, running, forgotten, {}):
        session = await add(manager.begin, seed, requested_slots=wants, scaling_group="default", **one)
        values = {name: getattr(value, "value", value) for name, value in one.items()}
        async with manager.begin() as tx:
            await tx.execute(
                update(sessions).where(sessions.c.id == session.id).values(scaling_group="default", **values)
            )
    async with manager.begin() as tx:
        found = {use.slot: use for use in await survey.list_past(tx, "default", hour, now)}
    cpu = found["cpu"]
    assert (cpu.user, cpu.project, cpu.domain) == (seed.user.user_id, seed.project, "default")
    # Two cpu for an hour, two half-lives ago and just now: of each hour its mean weight, (1 - 1/2) / ln 2.
    assert cpu.had == pytest.approx(2 * 3600 * (1 / 4 + 1) * 0.5 / log(2), rel=0.01)
    assert found["mem"].had == pytest.approx(cpu.had * 2**29, rel=0.01)
