"""What waits in the queue, on a real PostgreSQL: times, dependencies, quotas, timeouts, and nodes that fall silent."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import func, select
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_session_life import URL, Manager, request
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414

from caravan_common.errors import (
    CaravanError,
    ConflictError,
    ForbiddenError,
    InvalidParametersError,
    QuotaExceededError,
)
from caravan_common.ids import job_id
from caravan_common.nomad.events import AllocationEnded
from caravan_common.states import SessionResult, SessionStatus, SessionType
from caravan_common.wire.agent import KernelSpec
from caravan_common.wire.devices import Device
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    domains,
    kernels,
    keypair_resource_policies,
    nodes,
    projects,
    scaling_groups,
    sessions,
)
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.quotas import repository as quotas
from caravan_manager.scheduler.loop import FIRST_TURN
from caravan_manager.sessions import repository, survey
from caravan_manager.sessions.model import Session, SessionNotFoundError

OTHER_URL = "http://127.0.0.1:6012"


async def policy(begin: Begin, **values: object) -> None:
    async with begin() as tx:
        await tx.execute(keypair_resource_policies.update().values(**values))


async def made(manager: Manager, user: Principal, name: str = "train", **changes: object) -> Session:
    return (await manager.service.create(user, request(name, **changes))).session


async def ended(manager: Manager, session: UUID, code: int) -> Session:
    return await manager.moves.apply(session, lambda s, now: s.kernel_terminated(s.main_kernel.id, code, "exited", now))


def told(session: Session) -> dict[str, str]:
    return {failed["name"]: failed["msg"] for failed in session.status_data["scheduler"]["failed_predicates"]}


async def test_a_session_waits_for_its_time_and_keeps_nobody(manager: Manager, user: Principal) -> None:
    await manager.add_node(cpu="1")
    later = await made(manager, user, "later", starts_at="1h")
    now = await made(manager, user, "at-once")
    await manager.schedule()
    waiting = await manager.session(later.id)
    assert (waiting.status, waiting.status_info) == (SessionStatus.PENDING, "predicate-checks-failed")
    assert told(waiting).keys() == {"reserved_time"}
    assert (await manager.session(now.id)).status is SessionStatus.PREPARING
    await ended(manager, now.id, 0)
    manager.clock.now += timedelta(hours=1)
    await manager.schedule()
    assert (await manager.session(later.id)).status is SessionStatus.PREPARING


async def test_a_session_waits_until_all_it_depends_on_has_succeeded(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    first, second = await made(manager, user, "first"), await made(manager, user, "second")
    child = await made(manager, user, "child", dependencies=("first", str(second.id), "first"))
    await manager.started(first.id)
    assert told(await manager.session(child.id))["dependencies"].count("(") == 3
    await ended(manager, first.id, 0)
    await manager.schedule()
    waiting = await manager.session(child.id)
    assert waiting.status is SessionStatus.PENDING
    assert str(second.id) in told(waiting)["dependencies"]
    assert str(first.id) not in told(waiting)["dependencies"]
    await ended(manager, second.id, 0)
    await manager.schedule()
    assert (await manager.session(child.id)).status is SessionStatus.PREPARING


@pytest.mark.parametrize("how", ["failed", "cancelled", "dead before"])
async def test_what_depends_on_a_failure_is_cancelled_with_all_that_depends_on_it(
    manager: Manager, user: Principal, how: str
) -> None:
    if how != "cancelled":
        await manager.add_node()
    parent = await made(manager, user, "parent")
    child = grandchild = parent
    if how == "dead before":
        await manager.service.destroy(user, "parent", forced=False)
    child = await made(manager, user, "child", dependencies=("parent",))
    grandchild = await made(manager, user, "grandchild", dependencies=("child",))
    if how == "failed":
        await manager.started(parent.id)
        await ended(manager, parent.id, 3)
    elif how == "cancelled":
        await manager.service.destroy(user, "parent", forced=False)
    await manager.schedule()
    await manager.schedule()
    over = await manager.session(child.id)
    assert (over.status, over.status_info) == (SessionStatus.CANCELLED, "dependency-failed")
    assert f"parent ({parent.id})" in told(over)["dependencies"]
    assert (await manager.session(grandchild.id)).status is SessionStatus.CANCELLED


async def test_a_dependency_that_nobody_knows_is_refused_and_leaves_nothing(manager: Manager, user: Principal) -> None:
    with pytest.raises(InvalidParametersError) as refused:
        await made(manager, user, dependencies=("nowhere",))
    assert refused.value.data == {"session_ref": "nowhere"}
    async with manager.begin() as tx:
        assert await tx.scalar(select(func.count()).select_from(sessions)) == 0


async def test_one_may_not_depend_on_other_peoples_sessions(
    manager: Manager, admin: Principal, user: Principal
) -> None:
    theirs = await made(manager, admin, "theirs")
    with pytest.raises(InvalidParametersError):
        await made(manager, user, dependencies=(str(theirs.id),))


async def test_the_graph_of_dependencies_is_a_tree_from_the_session_down(manager: Manager, user: Principal) -> None:
    for name, parents in (("root", ()), ("left", ("root",)), ("right", ("root",)), ("leaf", ("left", "right"))):
        await made(manager, user, name, dependencies=parents)
    tree = await manager.service.dependency_graph(user, "leaf")
    left, right = tree.depends_on
    assert (left.session.name, right.session.name) == ("left", "right")
    assert [node.session.name for node in left.depends_on] == ["root"]
    assert [node.session.name for node in right.depends_on] == ["root"]
    with pytest.raises(SessionNotFoundError):
        await manager.service.dependency_graph(user, "nobody")


async def test_destroying_recursively_ends_what_depends_on_a_session(manager: Manager, user: Principal) -> None:
    await made(manager, user, "root")
    await made(manager, user, "child", dependencies=("root",))
    await made(manager, user, "grandchild", dependencies=("child",))
    kept = await made(manager, user, "stranger")
    over = await manager.service.destroy_with_dependants(user, "root", forced=False)
    assert [(s.name, s.status.value) for s in over] == [(n, "CANCELLED") for n in ("child", "grandchild", "root")]
    assert (await manager.session(kept.id)).status is SessionStatus.PENDING


async def test_a_batch_session_that_runs_too_long_fails_also_after_the_manager_was_away(
    manager: Manager, user: Principal
) -> None:
    await manager.add_node()
    session = await made(manager, user, batch_timeout=timedelta(minutes=1))
    running = await manager.started(session.id)
    manager.clock.now += timedelta(seconds=59)
    await manager.schedule()
    assert (await manager.session(session.id)).status is SessionStatus.RUNNING
    manager.clock.now += timedelta(hours=3)
    await manager.schedule()
    over = await manager.session(session.id)
    assert (over.status, over.result, over.status_info) == (
        SessionStatus.TERMINATING,
        SessionResult.FAILURE,
        "task-timeout",
    )
    assert manager.nomad.jobs[job_id(session.id)].stopped
    gone = await ended(manager, running.id, 143)
    assert (gone.status, gone.result, gone.status_info) == (
        SessionStatus.TERMINATED,
        SessionResult.FAILURE,
        "task-timeout",
    )


@pytest.mark.parametrize(("setting", "expected"), [("30m", "CANCELLED"), (1800, "CANCELLED"), (0, "PENDING")])
async def test_a_session_that_waits_for_longer_than_its_scaling_group_allows_is_cancelled(
    manager: Manager, user: Principal, setting: object, expected: str
) -> None:
    async with manager.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"pending_timeout": setting}))
    session = await made(manager, user)
    reserved = await made(manager, user, "reserved", starts_at="20m")
    manager.clock.now += timedelta(minutes=29)
    await manager.schedule()
    assert (await manager.session(session.id)).status is SessionStatus.PENDING
    manager.clock.now += timedelta(minutes=1)
    await manager.schedule()
    over = await manager.session(session.id)
    assert over.status.value == expected
    assert expected == "PENDING" or over.status_info == "pending-timeout"
    assert (await manager.session(reserved.id)).status is SessionStatus.PENDING


async def test_whoever_waits_for_a_session_that_is_cancelled_learns_it(manager: Manager, user: Principal) -> None:
    session = await made(manager, user)
    waiter = asyncio.create_task(manager.service.wait_until_started(session.id, 30))
    await asyncio.sleep(0)
    await manager.service.destroy(user, "train", forced=False)
    over = await asyncio.wait_for(waiter, 10)
    assert (over.status, over.never_ran) == (SessionStatus.CANCELLED, True)


@pytest.mark.parametrize(
    ("holder", "limit", "name"),
    [
        (keypair_resource_policies, {"total_resource_slots": {"cpu": "2"}}, "keypair_resource_limit"),
        (
            keypair_resource_policies,
            {"total_resource_slots": {"cpu": "2"}, "default_for_unspecified": "LIMITED"},
            "keypair_resource_limit",
        ),
        (keypair_resource_policies, {"max_concurrent_sessions": 1}, "concurrency"),
        (projects, {"total_resource_slots": {"mem": "300m"}}, "user_group_resource_limit"),
        (domains, {"total_resource_slots": {"mem": "300m"}}, "domain_resource_limit"),
    ],
)
async def test_a_session_over_a_quota_waits_until_there_is_room_in_it(
    manager: Manager, user: Principal, holder: object, limit: dict[str, object], name: str
) -> None:
    await manager.add_node(cpu="8")
    async with manager.begin() as tx:
        await tx.execute(holder.update().values(**limit))  # type: ignore[attr-defined]
    if limit.get("default_for_unspecified") == "LIMITED":
        blocked = await made(manager, user, "blocked")
        await manager.schedule()
        assert "mem=0" in told(await manager.session(blocked.id))[name]
        return
    first = await made(manager, user, "first", resources={"cpu": "2", "mem": "256m"})
    second = await made(manager, user, "second")
    await manager.started(first.id)
    waiting = await manager.session(second.id)
    assert (waiting.status, waiting.status_info) == (SessionStatus.PENDING, "predicate-checks-failed")
    assert name in told(waiting)
    await ended(manager, first.id, 0)
    await manager.schedule()
    assert (await manager.session(second.id)).status is SessionStatus.PREPARING


async def test_one_pass_never_goes_over_a_quota(manager: Manager, user: Principal, admin: Principal) -> None:
    await manager.add_node(cpu="64")
    await policy(manager.begin, total_resource_slots={"cpu": "3"})
    for number in range(6):
        await made(manager, user, f"mine-{number}")
    await made(manager, admin, "theirs")
    await manager.schedule()
    async with manager.begin() as tx:
        placed = await repository.list_by_status(tx, [SessionStatus.PREPARING])
    assert sorted(s.name for s in placed) == ["mine-0", "mine-1", "mine-2", "theirs"]


async def test_the_number_of_waiting_sessions_is_exact_when_many_come_at_once(
    manager: Manager, user: Principal
) -> None:
    await policy(manager.begin, max_pending_session_count=3)
    outcomes = await asyncio.gather(
        *[manager.service.create(user, request(f"job-{number}")) for number in range(8)], return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 5
    assert all(isinstance(outcome, QuotaExceededError) for outcome in refused)
    async with manager.begin() as tx:
        assert (await repository.sum_pending(tx, user.access_key))[0] == 3


async def test_a_dry_run_waits_for_no_request_of_the_keypair_and_keeps_none_waiting(
    manager: Manager, user: Principal
) -> None:
    await policy(manager.begin, max_pending_session_count=1)
    async with manager.begin() as other:
        await quotas.lock_queue(other, user.access_key)
        async with asyncio.timeout(5), manager.begin() as tx:
            await manager.service.draft(tx, user, request("draft"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await manager.service.create(user, request("submitted"))
    async with manager.begin() as tx:
        await manager.service.draft(tx, user, request("draft"))
        async with asyncio.timeout(5):
            await manager.service.create(user, request("submitted"))
    async with manager.begin() as tx:
        with pytest.raises(QuotaExceededError):
            await manager.service.draft(tx, user, request("draft"))


@pytest.mark.parametrize(
    ("changes", "limits", "reason"),
    [
        ({"cluster_size": 2}, {}, "too-many-containers"),
        ({}, {"max_pending_session_count": 0}, "pending-quota-exceeded"),
        ({}, {"max_pending_session_resource_slots": {"cpu": "0.5"}}, "pending-quota-exceeded"),
        ({"resources": {"cpu": "1", "mem": "256m", "no.device": "1"}}, {}, "unknown-slot"),
        ({"resources": {"cpu": "1", "mem": "1k"}}, {}, "image-limit"),
        ({"scaling_group": "nowhere"}, {}, "scaling-group-not-found"),
        ({"image": "no/such:image"}, {}, "image-not-found"),
    ],
)
async def test_what_is_refused_is_counted_by_reason(
    manager: Manager, user: Principal, changes: dict[str, object], limits: dict[str, object], reason: str
) -> None:
    if limits:
        await policy(manager.begin, **limits)
    before = refusals(reason)
    with pytest.raises(CaravanError):
        await made(manager, user, **changes)
    assert refusals(reason) == before + 1


def refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("caravan_session_refusals_total", {"reason": reason}) or 0


async def test_the_slots_of_waiting_sessions_are_limited(manager: Manager, user: Principal) -> None:
    await policy(manager.begin, max_pending_session_resource_slots={"cpu": "2"})
    await made(manager, user, "first")
    await made(manager, user, "second")
    with pytest.raises(QuotaExceededError):
        await made(manager, user, "third")
    await manager.service.destroy(user, "first", forced=False)
    await made(manager, user, "third")


async def test_a_cluster_larger_than_the_policy_is_over_the_quota(manager: Manager, user: Principal) -> None:
    with pytest.raises(QuotaExceededError) as refused:
        await made(manager, user, cluster_size=2)
    assert refused.value.status == 412


async def test_a_priority_changed_in_the_queue_changes_the_order(
    manager: Manager, admin: Principal, user: Principal
) -> None:
    await manager.add_node(cpu="1")
    first, second = await made(manager, user, "first"), await made(manager, user, "second")
    changed = await manager.service.change(admin, second.id, None, 90)
    assert (changed.priority, changed.name) == (90, "second")
    await manager.schedule()
    assert (await manager.session(second.id)).status is SessionStatus.PREPARING
    assert (await manager.session(first.id)).status is SessionStatus.PENDING


async def test_only_administrators_change_live_sessions_of_their_domain(
    manager: Manager, admin: Principal, user: Principal
) -> None:
    mine = await made(manager, user, "mine")
    await made(manager, user, "other")
    with pytest.raises(ForbiddenError):
        await manager.service.change(user, mine.id, None, 1)
    elsewhere = replace(user, user_id=admin.user_id, role=UserRole.ADMIN, domain_name="elsewhere")
    with pytest.raises(SessionNotFoundError):
        await manager.service.change(elsewhere, mine.id, None, 1)
    for name, priority in (("x", None), (None, 101), (None, -1), ("other", None)):
        with pytest.raises(InvalidParametersError):
            await manager.service.change(admin, mine.id, name, priority)
    assert (await manager.service.change(admin, mine.id, "renamed", None)).name == "renamed"
    await manager.service.destroy(user, "renamed", forced=False)
    with pytest.raises(ConflictError):
        await manager.service.change(admin, mine.id, None, 1)


async def add_other_node(manager: Manager) -> None:
    await manager.nodes.heard(
        NodeHeartbeat(
            at=manager.clock(),
            node=str(UUID(int=7)),
            name="node2",
            scaling_group="default",
            architecture="x86_64",
            version="0.1.0",
            url=OTHER_URL,
            region="local",
            slots={"cpu": "4", "mem": "4294967296"},
            images=[],
        )
    )


async def silenced(manager: Manager, session: UUID) -> Session:
    """Place a session on node1, which falls silent as it is to be launched there."""
    manager.agents.silent = True
    await manager.schedule()
    placed = await manager.session(session)
    assert (placed.status, placed.main_kernel.node) == (SessionStatus.SCHEDULED, "node1")
    async with manager.begin() as tx:
        await tx.execute(nodes.update().where(nodes.c.name == "node1").values(status="LOST"))
    manager.agents.silent = False
    return placed


async def test_a_session_whose_node_falls_silent_before_the_launch_is_placed_elsewhere(
    manager: Manager, user: Principal
) -> None:
    await manager.add_node()
    session = await made(manager, user)
    before = await silenced(manager, session.id)
    await add_other_node(manager)
    await manager.schedule()
    again = await manager.session(session.id)
    assert (again.status, again.attempt, again.status_info) == (SessionStatus.PENDING, 2, "node-lost")
    assert all(job.stopped for job in manager.nomad.jobs.values())
    started = await manager.started(session.id)
    assert (started.status, started.main_kernel.node) == (SessionStatus.RUNNING, "node2")
    assert started.main_kernel.id != before.main_kernel.id
    assert [group["Name"] for group in manager.nomad.registered[-1]["TaskGroups"]] == ["main1-2"]
    async with manager.begin() as tx:
        assert await tx.scalar(select(func.count()).select_from(kernels)) == 1


async def test_late_news_of_the_first_attempt_do_not_move_the_second(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    session = await made(manager, user)
    old = (await silenced(manager, session.id)).main_kernel.id
    await manager.schedule()
    for late in (
        lambda s, now: s.kernel_started(old, "c0ffee", now),
        lambda s, now: s.kernel_terminated(old, 137, "exited", now),
        lambda s, now: s.group_terminated("main1", None, "allocation-lost", now),
    ):
        assert (await manager.moves.apply(session.id, late)).status is SessionStatus.PENDING
    await add_other_node(manager)
    running = await manager.started(session.id)
    manager.nomad.allocations[job_id(session.id)] = [AllocationEnded(session.id, "main1", 137, "allocation-lost")]
    assert (
        await manager.moves.apply(session.id, lambda s, now: s.group_terminated("main1", 137, "lost", now))
    ) == running
    assert (await ended(manager, session.id, 0)).result is SessionResult.SUCCESS


async def test_the_node_that_comes_back_is_told_to_forget_the_first_attempt(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    session = await made(manager, user)
    old = (await silenced(manager, session.id)).main_kernel.id
    manager.agents.specs[URL, old] = KernelSpec.model_construct(session=session.id, kernel=old)
    await add_other_node(manager)
    await manager.schedule()
    await manager.schedule()
    await manager.add_node()
    await manager.sweeper.sweep_nodes()
    new = (await manager.session(session.id)).main_kernel.id
    assert set(manager.agents.specs) == {(OTHER_URL, new)}
    assert (await manager.session(session.id)).status is SessionStatus.PREPARING


ON_A_GPU = {"cpu": "1", "mem": "256m", "cuda.device": "1"}
GPUS = tuple(Device(id=f"GPU-{number}", slot="cuda.device", model="A100") for number in (1, 2))


def without(device: str) -> list[Device]:
    """Return the GPUs, of which one is ill."""
    return [gpu.model_copy(update={"healthy": gpu.id != device, "problem": "XID 79"}) for gpu in GPUS]


async def test_a_session_whose_device_falls_ill_before_the_launch_gets_another_one(
    manager: Manager, user: Principal
) -> None:
    await manager.add_node(devices=GPUS)
    session = await made(manager, user, resources=ON_A_GPU)
    manager.agents.silent = True  # as an agent that finds the device ill: it answers 503
    await manager.schedule()
    (held,) = (await manager.session(session.id)).main_kernel.devices
    manager.agents.silent = False
    await manager.add_node(devices=without(held.id))
    await manager.schedule()
    again = await manager.session(session.id)
    assert (again.status, again.attempt, again.status_info) == (SessionStatus.PENDING, 2, "device-lost")
    started = await manager.started(session.id)
    assert started.status is SessionStatus.RUNNING
    assert [device.id != held.id for device in started.main_kernel.devices] == [True]


async def submitted_on_a_gpu_that_falls_ill(manager: Manager, user: Principal) -> tuple[Session, str]:
    """Have Nomad told of a session, and then the manager that its device is ill."""
    await manager.add_node(devices=GPUS)
    session = await made(manager, user, resources=ON_A_GPU)
    await manager.schedule()
    submitted = await manager.session(session.id)
    assert submitted.status is SessionStatus.PREPARING
    device = submitted.main_kernel.devices[0].id
    manager.nomad.finds_places = False
    await manager.add_node(devices=without(device))
    return submitted, device


async def test_a_session_whose_device_falls_ill_before_nomad_found_a_place_gets_another_one(
    manager: Manager, user: Principal
) -> None:
    session, device = await submitted_on_a_gpu_that_falls_ill(manager, user)
    await manager.sweeper.sweep_devices()
    back = await manager.session(session.id)
    assert (back.status, back.status_info) == (SessionStatus.SCHEDULED, "device-lost")
    await manager.schedule()
    assert manager.nomad.jobs[job_id(session.id)].stopped
    again = await manager.started(session.id)
    assert (again.status, again.attempt) == (SessionStatus.RUNNING, 2)
    assert [held.id != device for held in again.main_kernel.devices] == [True]
    await manager.sweeper.sweep_devices()
    assert await manager.session(session.id) == again


async def test_one_for_which_nomad_found_a_place_or_whose_device_is_well_stays_where_it_is(
    manager: Manager, user: Principal
) -> None:
    session, _ = await submitted_on_a_gpu_that_falls_ill(manager, user)
    manager.nomad.finds_places = True
    await manager.sweeper.sweep_devices()
    assert await manager.session(session.id) == session
    manager.nomad.finds_places = False
    await manager.add_node(devices=GPUS)
    await manager.sweeper.sweep_devices()
    assert await manager.session(session.id) == session


async def test_one_whose_device_is_well_again_before_it_was_put_back_is_launched_there(
    manager: Manager, user: Principal
) -> None:
    session, device = await submitted_on_a_gpu_that_falls_ill(manager, user)
    await manager.sweeper.sweep_devices()
    await manager.add_node(devices=GPUS)
    started = await manager.started(session.id)
    assert (started.status, started.attempt) == (SessionStatus.RUNNING, 1)
    assert [held.id for held in started.main_kernel.devices] == [device]


async def test_the_start_time_and_the_timeout_are_for_batch_sessions(manager: Manager, user: Principal) -> None:
    for changes in ({"starts_at": "1h"}, {"batch_timeout": timedelta(hours=1)}):
        with pytest.raises(InvalidParametersError, match="only for batch sessions"):
            await made(manager, user, type=SessionType.INTERACTIVE, **changes)
    kept = await made(manager, user, starts_at="2026-11-22T09:00:00+09:00", batch_timeout=timedelta(hours=1))
    read = await manager.session(kept.id)
    assert (read.starts_at, read.batch_timeout) == (datetime(2026, 11, 22, tzinfo=UTC), timedelta(hours=1))


@pytest.mark.parametrize("mode", ["terminate", "reschedule"])
async def test_a_session_of_high_priority_ends_others_where_the_scaling_group_allows_it(
    manager: Manager, user: Principal, mode: str
) -> None:
    await manager.add_node(cpu="2")
    rules = {"enabled": True, "mode": mode, "victim_scope": "user"}
    async with manager.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"preemption": rules}))
    unimportant = await made(manager, user, "unimportant", priority=1, resources={"cpu": "2", "mem": "1g"})
    await manager.started(unimportant.id)
    urgent = await made(manager, user, "urgent", priority=50, resources={"cpu": "2", "mem": "1g"})
    await manager.schedule()
    ending = await manager.session(unimportant.id)
    assert (ending.status, ending.status_info) == (SessionStatus.TERMINATING, "preempted")
    waiting = await manager.session(urgent.id)
    assert waiting.status is SessionStatus.PENDING
    until = (manager.clock() + FIRST_TURN).isoformat()
    assert waiting.status_data["victims"] == {"sessions": [str(unimportant.id)], "until": until}
    async with manager.begin() as tx:
        assert [q.session.first_until for q in await survey.list_queue(tx, manager.clock())] == [
            manager.clock() + FIRST_TURN
        ]
    await manager.schedule()
    assert (await manager.session(urgent.id)).status_data["victims"]["until"] == until
    await ended(manager, unimportant.id, 143)
    await manager.schedule()
    assert (await manager.session(urgent.id)).status is SessionStatus.PREPARING
    after = await manager.session(unimportant.id)
    assert after.status is (SessionStatus.TERMINATED if mode == "terminate" else SessionStatus.PENDING)
    if mode == "reschedule":
        await ended(manager, urgent.id, 0)
        await manager.schedule()
        assert (await manager.session(unimportant.id)).attempt == 2
        assert (await manager.session(unimportant.id)).status is SessionStatus.PREPARING


async def giving_way(manager: Manager, user: Principal, command: str | None) -> Session:
    """A session that is to end for another one within ten minutes."""
    await manager.add_node(cpu="2")
    rules = {"enabled": True, "preemption_grace": "10m"}
    async with manager.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"preemption": rules}))
    kind = SessionType.INTERACTIVE if command is None else SessionType.BATCH
    everything = {"cpu": "2", "mem": "1g"}
    manager.nomad.tells_what_runs = False
    low = await made(manager, user, "modest", priority=1, type=kind, startup_command=command, resources=everything)
    await manager.started(low.id)
    urgent = await made(manager, user, "urgent", priority=50, resources=everything)
    await manager.schedule()
    first = (await manager.session(urgent.id)).status_data["victims"]
    assert first["until"] == (manager.clock() + timedelta(minutes=10) + FIRST_TURN).isoformat()
    async with manager.begin() as tx:
        (placed,) = await survey.list_placed(tx)
    assert (placed.is_ending, placed.ends_at) == (True, manager.clock() + timedelta(minutes=10))
    return await manager.session(low.id)


@pytest.mark.parametrize("command", [None, "python train.py"])
async def test_one_that_has_time_left_goes_on_until_then_and_a_batch_program_is_told_once(
    manager: Manager, user: Principal, command: str | None
) -> None:
    low = await giving_way(manager, user, command)
    assert (low.status, low.goes_on_until) == (SessionStatus.TERMINATING, manager.clock() + timedelta(minutes=10))
    for minutes, knows in ((1, False), (4, True), (4, True)):
        manager.nomad.tells_what_runs = knows
        manager.clock.now += timedelta(minutes=minutes)
        await manager.schedule()
    assert manager.nomad.signalled == ([] if command is None else [(job_id(low.id), "main1", "SIGTERM")])
    assert not manager.nomad.jobs[job_id(low.id)].stopped
    manager.clock.now += timedelta(minutes=1)
    await manager.schedule()
    assert manager.nomad.jobs[job_id(low.id)].stopped


async def test_one_that_has_time_left_ends_at_once_when_its_user_says_so(manager: Manager, user: Principal) -> None:
    low = await giving_way(manager, user, "python train.py")
    await manager.service.destroy(user, "modest", forced=False)
    await manager.schedule()
    assert (await manager.session(low.id)).goes_on_until is None
    assert manager.nomad.jobs[job_id(low.id)].stopped


async def test_fair_share_knows_of_whom_others_waited_for_a_moment_ago(
    manager: Manager, user: Principal, seed: Seed
) -> None:
    """Of two who had nothing before, the second one's turn comes as soon as the first one had something."""
    await manager.add_node(cpu="1")
    async with manager.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler="fair-share"))
    first, second = [await made(manager, user, f"mine-{number}") for number in range(2)]
    other = await made(manager, seed.admin, "theirs")
    await manager.started(first.id)
    manager.clock.now += timedelta(seconds=5)
    await manager.schedule()
    await ended(manager, first.id, 0)
    await manager.schedule()
    assert (await manager.session(other.id)).status is SessionStatus.PREPARING
    assert (await manager.session(second.id)).status is SessionStatus.PENDING
