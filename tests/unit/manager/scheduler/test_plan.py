"""The plan: what starts now, where, and why the rest waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_manager.quotas.model import HolderKind, Quota, SlotLimit, Tenant
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import (
    EndReason,
    GroupView,
    NodeView,
    Obstacle,
    Plan,
    Reason,
    Snapshot,
)
from caravan_manager.sessions.model import Parent
from caravan_manager.sessions.queue import KernelRequest, PendingSession, PlacedKernel, PlacedSession

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GIB = 2**30
TENANT = Tenant("AK", user=UUID(int=2), project=UUID(int=0), domain="default")


def slots(cpu: float, gib: float) -> ResourceSlots:
    return ResourceSlots({"cpu": Decimal(str(cpu)), "mem": Decimal(str(gib)) * GIB})


def node(name: str, cpu: float = 8, gib: float = 16, **rest: str) -> NodeView:
    return NodeView(
        name=name,
        scaling_group=rest.get("scaling_group", "default"),
        architecture=rest.get("architecture", "x86_64"),
        schedulable=rest.get("schedulable", "yes") == "yes",
        capacity=slots(cpu, gib),
    )


def session(number: int, *kernels: ResourceSlots, priority: int = 10, mode: str = "single-node") -> PendingSession:
    return PendingSession(
        id=UUID(int=number),
        sequence=number,
        priority=priority,
        type=SessionType.BATCH,
        scaling_group="default",
        architecture="x86_64",
        cluster_mode=ClusterMode(mode),
        tenant=TENANT,
        pending_since=NOW,
        kernels=tuple(KernelRequest(UUID(int=number * 1000 + i), k) for i, k in enumerate(kernels)),
    )


def planned(nodes: list[NodeView], *pending: PendingSession) -> Plan:
    return decide(Snapshot(NOW, tuple(nodes), tuple(pending)))


def decide(snapshot: Snapshot) -> Plan:
    return plan(snapshot, find_plugins())


def holding(number: int, on: str, amount: ResourceSlots) -> PlacedSession:
    kernels = (PlacedKernel(on, amount),)
    return PlacedSession(UUID(int=number), 10, SessionType.BATCH, "default", TENANT, NOW, kernels)


def test_sessions_start_in_the_order_of_submission() -> None:
    decided = planned([node("a", 2, 2)], session(2, slots(2, 1)), session(1, slots(2, 1)))
    assert [p.session.int for p in decided.placements] == [1]
    assert decided.waits[0].session.int == 2


def test_a_higher_priority_goes_first() -> None:
    decided = planned([node("a", 2, 2)], session(1, slots(2, 1)), session(2, slots(2, 1), priority=50))
    assert [p.session.int for p in decided.placements] == [2]


def test_a_session_without_room_holds_back_those_behind_it() -> None:
    taken = holding(9, "a", slots(3, 3))
    pending = (session(1, slots(4, 1)), session(2, slots(1, 1)))
    decided = decide(Snapshot(NOW, (node("a", 4, 4),), pending, (taken,)))
    assert decided.placements == ()
    assert decided.waits[0].obstacle is Obstacle.NO_ROOM
    assert decided.waits[0].about == ("a",)
    assert decided.waits[1].obstacle is Obstacle.BEHIND_THE_HEAD
    assert decided.waits[1].about == (str(UUID(int=1)),)


def test_a_session_with_folders_goes_where_all_of_them_are() -> None:
    wanted = replace(session(1, slots(1, 1)), volumes=frozenset({"volume1", "volume2"}))
    half = replace(node("a", 1, 1), volumes=frozenset({"volume1"}))
    whole = replace(node("b", 8, 8), volumes=frozenset({"volume1", "volume2"}))
    assert planned([half, whole], wanted).placements[0].seats[0][1].node == "b"


def test_a_session_whose_folders_no_node_has_says_so_and_holds_back_nobody() -> None:
    wanted = replace(session(1, slots(1, 1)), volumes=frozenset({"volume1"}))
    decided = planned([node("a")], wanted, session(2, slots(1, 1)))
    assert [p.session.int for p in decided.placements] == [2]
    assert (decided.waits[0].obstacle, decided.waits[0].about) == (Obstacle.NO_NODE_WITH_VOLUMES, ("volume1",))


def test_a_session_that_can_never_fit_holds_back_nobody() -> None:
    decided = planned([node("a", 4, 4)], session(1, slots(64, 1)), session(2, slots(1, 1)))
    assert [p.session.int for p in decided.placements] == [2]
    assert decided.waits[0].obstacle is Obstacle.LARGER_THAN_ANY_NODE


def test_only_nodes_of_the_group_and_architecture_that_take_sessions_are_used() -> None:
    others = [
        node("a", scaling_group="gpu"),
        node("b", architecture="aarch64"),
        node("c", schedulable="no"),
    ]
    assert planned(others[:1], session(1, slots(1, 1))).waits[0].obstacle is Obstacle.NO_NODE_OF_GROUP
    assert planned(others[1:2], session(1, slots(1, 1))).waits[0].obstacle is Obstacle.NO_NODE_OF_ARCHITECTURE
    assert planned(others[2:], session(1, slots(1, 1))).waits[0].obstacle is Obstacle.NO_NODE_OF_GROUP


def test_the_tightest_node_is_taken_by_name_where_equal() -> None:
    nodes = (node("c"), node("b"), node("a"))
    taken = (holding(8, "b", slots(6, 14)), holding(9, "a", slots(6, 14)))
    decided = decide(Snapshot(NOW, nodes, (session(1, slots(1, 1)),), taken))
    assert decided.placements[0].seats[0][1].node == "a"


def test_a_multi_node_session_is_placed_whole_or_not_at_all() -> None:
    two = session(1, slots(4, 1), slots(4, 1), mode="multi-node")
    assert planned([node("a", 4, 4)], two).placements == ()
    assert {s.node for _, s in planned([node("a", 4, 4), node("b", 4, 4)], two).placements[0].seats} == {"a", "b"}


def test_a_single_node_session_needs_the_sum_on_one_node() -> None:
    two = session(1, slots(4, 1), slots(4, 1))
    assert planned([node("a", 4, 4), node("b", 4, 4)], two).waits[0].obstacle is Obstacle.LARGER_THAN_ANY_NODE
    assert len(planned([node("a", 8, 4)], two).placements[0].seats) == 2


@given(
    st.lists(st.tuples(st.integers(1, 16), st.integers(1, 32)), max_size=6),
    st.lists(st.tuples(st.integers(1, 16), st.integers(1, 32), st.integers(0, 100)), max_size=12),
)
def test_no_node_is_ever_overcommitted_and_nobody_is_forgotten(
    machines: list[tuple[int, int]], wishes: list[tuple[int, int, int]]
) -> None:
    nodes = [node(f"n{i}", cpu, gib) for i, (cpu, gib) in enumerate(machines)]
    pending = [session(i + 1, slots(cpu, gib), priority=p) for i, (cpu, gib, p) in enumerate(wishes)]
    decided = planned(nodes, *pending)
    by_id = {s.id: s for s in pending}
    for machine in nodes:
        taken = ResourceSlots()
        for placement in decided.placements:
            if placement.seats[0][1].node == machine.name:
                taken = taken + by_id[placement.session].slots
        assert taken.fits_in(machine.capacity)
    answered = [p.session for p in decided.placements] + [w.session for w in decided.waits]
    assert sorted(answered) == sorted(by_id)
    assert planned(nodes, *reversed(pending)) == decided


def parent(number: int, status: str, result: str = "undefined") -> Parent:
    return Parent(UUID(int=number), f"parent-{number}", SessionStatus(status), SessionResult(result))


def quota(kind: HolderKind, name: str, *, cpu: int | None = None, sessions: int | None = None) -> Quota:
    limit = SlotLimit(ResourceSlots({} if cpu is None else {"cpu": Decimal(cpu)}))
    return Quota((kind, name), limit, sessions)


def decided_with(*pending: PendingSession, quotas: tuple[Quota, ...] = (), timeout: int | None = None) -> Plan:
    group = GroupView("default", pending_timeout=None if timeout is None else timedelta(seconds=timeout))
    return decide(Snapshot(NOW, (node("a", 64, 64),), pending, (), (group,), quotas))


def test_all_reasons_are_told_in_order_and_who_waits_for_them_keeps_nobody() -> None:
    unfinished = (parent(7, "RUNNING"), parent(8, "TERMINATED", "success"))
    held = replace(session(1, slots(8, 1)), starts_at=NOW + timedelta(seconds=1), parents=unfinished)
    full = quota(HolderKind.KEYPAIR, "AK", cpu=4, sessions=1)
    decided = decided_with(held, session(2, slots(2, 1)), session(3, slots(1, 1)), quotas=(full,))
    waits = {wait.session.int: wait.reasons for wait in decided.waits}
    assert [p.session.int for p in decided.placements] == [2]
    assert [r.obstacle for r in waits[1]] == [Obstacle.NOT_YET, Obstacle.DEPENDENCIES, Obstacle.KEYPAIR_QUOTA]
    assert waits[1][1].about == (f"parent-7 ({UUID(int=7)})",)
    assert waits[3] == (Reason(Obstacle.CONCURRENCY, ("AK",), "1"),)


def test_quotas_hold_over_all_scaling_groups_of_a_pass() -> None:
    elsewhere = replace(session(2, slots(2, 1)), scaling_group="other")
    nodes = (node("a"), node("b", scaling_group="other"))
    limit = quota(HolderKind.DOMAIN, "default", cpu=3)
    decided = decide(Snapshot(NOW, nodes, (session(1, slots(2, 1)), elsewhere), (), (), (limit,)))
    assert len(decided.placements) == 1
    assert decided.waits[0].reasons == (Reason(Obstacle.DOMAIN_QUOTA, ("default", "cpu"), "cpu=3"),)


def test_the_number_of_system_sessions_is_one_of_their_own() -> None:
    quotas = (quota(HolderKind.KEYPAIR, "AK", sessions=1), quota(HolderKind.SYSTEM_KEYPAIR, "AK", sessions=1))
    system = [system_session(n, 1) for n in (1, 2)]
    decided = decided_with(*system, session(3, slots(1, 1)), session(4, slots(1, 1)), quotas=quotas)
    assert [p.session.int for p in decided.placements] == [1, 3]
    assert {w.session.int: w.reasons for w in decided.waits} == {
        2: (Reason(Obstacle.CONCURRENCY, ("AK",), "1"),),
        4: (Reason(Obstacle.CONCURRENCY, ("AK",), "1"),),
    }


@pytest.mark.parametrize(
    ("kind", "holder", "obstacle"),
    [
        (HolderKind.KEYPAIR, "AK", Obstacle.KEYPAIR_QUOTA),
        (HolderKind.USER, str(UUID(int=2)), Obstacle.USER_QUOTA),
        (HolderKind.PROJECT, str(UUID(int=0)), Obstacle.PROJECT_QUOTA),
        (HolderKind.DOMAIN, "default", Obstacle.DOMAIN_QUOTA),
    ],
)
def test_the_slots_of_system_sessions_count_as_everybodys(kind: HolderKind, holder: str, obstacle: Obstacle) -> None:
    quotas = (quota(kind, holder, cpu=2), quota(HolderKind.SYSTEM_KEYPAIR, "AK"))
    decided = decided_with(system_session(1, 3), system_session(2, 2), session(3, slots(1, 1)), quotas=quotas)
    assert [p.session.int for p in decided.placements] == [2]
    reason = (Reason(obstacle, (holder, "cpu"), "cpu=2"),)
    assert {w.session.int: w.reasons for w in decided.waits} == {1: reason, 3: reason}


def system_session(number: int, cpu: float) -> PendingSession:
    return replace(session(number, slots(cpu, 1)), type=SessionType.SYSTEM)


@pytest.mark.parametrize(
    ("status", "result", "ends"),
    [
        ("TERMINATED", "failure", True),
        ("TERMINATED", "undefined", True),
        ("CANCELLED", "undefined", True),
        ("ERROR", "undefined", True),
        ("TERMINATING", "failure", False),
        ("PENDING", "undefined", False),
    ],
)
def test_only_a_parent_that_is_over_without_success_ends_a_session(status: str, result: str, ends: bool) -> None:
    decided = decided_with(replace(session(1, slots(1, 1)), parents=(parent(7, status, result),)))
    assert decided.placements == ()
    assert [c.reason for c in decided.cancellations] == ([EndReason.DEPENDENCY_FAILED] if ends else [])


def test_the_pending_timeout_counts_from_the_start_time() -> None:
    old = replace(session(1, slots(99, 1)), pending_since=NOW - timedelta(seconds=60))
    reserved = replace(old, id=UUID(int=2), starts_at=NOW - timedelta(seconds=59))
    assert [c.session.int for c in decided_with(old, reserved, timeout=60).cancellations] == [1]
    assert decided_with(old, reserved).cancellations == ()


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["AK", "BK"]), st.integers(0, 3)), max_size=12),
    st.integers(0, 12),
    st.integers(1, 4),
)
def test_no_quota_is_ever_exceeded_and_each_session_has_one_answer(
    wishes: list[tuple[int, str, int]], cpu: int, most: int
) -> None:
    pending = [
        replace(session(i + 1, slots(c, 1), priority=p), tenant=replace(TENANT, access_key=key))
        for i, (c, key, p) in enumerate(wishes)
    ]
    quotas = (
        *(quota(HolderKind.KEYPAIR, key, sessions=most) for key in ("AK", "BK")),
        quota(HolderKind.PROJECT, str(UUID(int=0)), cpu=cpu),
    )
    decided = decided_with(*pending, quotas=quotas)
    by_id = {s.id: s for s in pending}
    placed = [by_id[p.session] for p in decided.placements]
    assert sum(s.slots["cpu"] for s in placed) <= cpu
    assert all(sum(s.tenant.access_key == key for s in placed) <= most for key in ("AK", "BK"))
    assert sorted([s.id for s in placed] + [w.session for w in decided.waits]) == sorted(by_id)
    assert all(wait.reasons for wait in decided.waits)
