"""The plan: what starts now, where, and why the rest waits."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.snapshot import KernelRequest, NodeView, Obstacle, Plan, SessionRequest, Snapshot

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GIB = 2**30


def slots(cpu: float, gib: float) -> ResourceSlots:
    return ResourceSlots({"cpu": Decimal(str(cpu)), "mem": Decimal(str(gib)) * GIB})


def node(name: str, cpu: float = 8, gib: float = 16, *, free: ResourceSlots | None = None, **rest: str) -> NodeView:
    capacity = slots(cpu, gib)
    return NodeView(
        name=name,
        scaling_group=rest.get("scaling_group", "default"),
        architecture=rest.get("architecture", "x86_64"),
        schedulable=rest.get("schedulable", "yes") == "yes",
        capacity=capacity,
        free=capacity if free is None else free,
    )


def session(number: int, *kernels: ResourceSlots, priority: int = 10, mode: str = "single-node") -> SessionRequest:
    return SessionRequest(
        id=UUID(int=number),
        sequence=number,
        priority=priority,
        type=SessionType.BATCH,
        scaling_group="default",
        architecture="x86_64",
        cluster_mode=ClusterMode(mode),
        access_key="AK",
        user=UUID(int=2),
        domain="default",
        project=UUID(int=0),
        pending_since=NOW,
        kernels=tuple(KernelRequest(UUID(int=number * 1000 + i), k) for i, k in enumerate(kernels)),
    )


def planned(nodes: list[NodeView], *pending: SessionRequest) -> Plan:
    return plan(Snapshot(NOW, tuple(nodes), tuple(pending)))


def test_sessions_start_in_the_order_of_submission() -> None:
    decided = planned([node("a", 2, 2)], session(2, slots(2, 1)), session(1, slots(2, 1)))
    assert [p.session.int for p in decided.placements] == [1]
    assert decided.waits[0].session.int == 2


def test_a_higher_priority_goes_first() -> None:
    decided = planned([node("a", 2, 2)], session(1, slots(2, 1)), session(2, slots(2, 1), priority=50))
    assert [p.session.int for p in decided.placements] == [2]


def test_a_session_without_room_holds_back_those_behind_it() -> None:
    full = node("a", 4, 4, free=slots(1, 1))
    decided = planned([full], session(1, slots(4, 1)), session(2, slots(1, 1)))
    assert decided.placements == ()
    assert decided.waits[0].obstacle is Obstacle.NO_ROOM
    assert decided.waits[0].about == ("a",)
    assert decided.waits[1].obstacle is Obstacle.BEHIND_THE_HEAD
    assert decided.waits[1].about == (str(UUID(int=1)),)


def test_a_session_with_folders_goes_where_all_of_them_are() -> None:
    wanted = replace(session(1, slots(1, 1)), volumes=frozenset({"volume1", "volume2"}))
    half = replace(node("a", 1, 1), volumes=frozenset({"volume1"}))
    whole = replace(node("b", 8, 8), volumes=frozenset({"volume1", "volume2"}))
    assert planned([half, whole], wanted).placements[0].nodes[0][1] == "b"


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
    nodes = [node("c"), node("b", free=slots(2, 2)), node("a", free=slots(2, 2))]
    assert planned(nodes, session(1, slots(1, 1))).placements[0].nodes[0][1] == "a"


def test_a_multi_node_session_is_placed_whole_or_not_at_all() -> None:
    two = session(1, slots(4, 1), slots(4, 1), mode="multi-node")
    assert planned([node("a", 4, 4)], two).placements == ()
    assert {n for _, n in planned([node("a", 4, 4), node("b", 4, 4)], two).placements[0].nodes} == {"a", "b"}


def test_a_single_node_session_needs_the_sum_on_one_node() -> None:
    two = session(1, slots(4, 1), slots(4, 1))
    assert planned([node("a", 4, 4), node("b", 4, 4)], two).waits[0].obstacle is Obstacle.LARGER_THAN_ANY_NODE
    assert len(planned([node("a", 8, 4)], two).placements[0].nodes) == 2


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
            if placement.nodes[0][1] == machine.name:
                taken = taken + by_id[placement.session].slots
        assert taken.fits_in(machine.capacity)
    answered = [p.session for p in decided.placements] + [w.session for w in decided.waits]
    assert sorted(answered) == sorted(by_id)
    assert planned(nodes, *reversed(pending)) == decided
