"""Why sessions wait: the facts of each reason, what would help, and when they start."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import GIB, NOW, gpus, node, session, slots, started, tenant

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import HolderKind, Quota, SlotLimit
from caravan_manager.scheduler.explaining.changes import (
    AnyNode,
    DependenciesSucceed,
    FewerKernels,
    HigherPriority,
    MoreQuota,
    OtherGroup,
    OtherModels,
    OtherSlot,
    SessionsGone,
    SmallerKernels,
    TimeComes,
    TimeLimit,
    apply_all,
)
from caravan_manager.scheduler.explaining.explain import explain
from caravan_manager.scheduler.explaining.forward import after, at, next_moment
from caravan_manager.scheduler.explaining.model import Basis, Explanation
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Obstacle, PreemptionRules, Snapshot, VictimScope
from caravan_manager.sessions.model import Parent
from caravan_manager.sessions.queue import PendingSession, PlacedSession

KEYPAIR = (HolderKind.KEYPAIR, "AK1")


def running(nodes: tuple[NodeView, ...], *asked: PendingSession, group: str = "default") -> tuple[PlacedSession, ...]:
    """The sessions on the nodes, each placed a second after the one before."""
    placed: list[PlacedSession] = []
    for i, one in enumerate(asked):
        decided = plan(Snapshot(NOW, nodes, (one,), tuple(placed), (GroupView(group),)), find_plugins())
        placed.append(started(decided.placements[0], one, NOW - timedelta(hours=1) + timedelta(seconds=i)))
        placed[-1] = replace(placed[-1], ends_at=None if one.time_limit is None else NOW + one.time_limit)
    return tuple(placed)


def told(
    nodes: tuple[NodeView, ...],
    *pending: PendingSession,
    of: PendingSession,
    placed: tuple[PlacedSession, ...] = (),
    quotas: tuple[Quota, ...] = (),
    groups: tuple[str, ...] = (),
    **options: object,
) -> Explanation:
    views = tuple(GroupView(name, options=options) for name in sorted({n.scaling_group for n in nodes}))
    snapshot = Snapshot(NOW, nodes, (*pending, of), placed, views, quotas)
    found = explain(snapshot, of.id, find_plugins(), groups=groups)
    assert found.runs <= 36
    for helping in found.counterfactuals:
        decided = plan(apply_all(helping.changes, snapshot, of.id), find_plugins())
        assert helping.placement in decided.placements, helping
    return found


def changes(found: Explanation) -> list[tuple[object, ...]]:
    return [helping.changes for helping in found.counterfactuals]


def obstacles(found: Explanation) -> list[tuple[Obstacle, bool]]:
    return [(told.reason.obstacle, told.only_then) for told in found.obstructions]


def test_a_session_with_room_starts_now_on_named_devices() -> None:
    found = told((node("a", 8, 64, *gpus(1)),), of=session(1, slots(1, 1, cuda_shares=0.3)))
    assert found.placement is not None
    (_, seat) = found.placement.seats[0]
    assert (seat.node, [(d.id, d.amount) for d in seat.devices]) == ("a", [("GPU-0", Decimal("0.3"))])
    assert (found.estimate.earliest, found.estimate.latest, found.runs) == (NOW, NOW, 1)


def test_without_room_each_node_tells_what_it_lacks_on_which_devices_and_who_holds_it() -> None:
    nodes = (node("a", 8, 64, *gpus(2)), node("b", 8, 64))
    placed = running(nodes, session(8, slots(1, 1, cuda_shares=0.5)), session(9, slots(1, 1, cuda_shares=1)))
    found = told(nodes, of=session(1, slots(1, 1, cuda_shares=1)), placed=placed)
    assert obstacles(found) == [(Obstacle.NO_ROOM, False)]
    (state,) = found.obstructions[0].nodes
    (lack,) = state.lacks
    assert (state.node, lack.slot, lack.asks, lack.left, lack.total) == ("a", "cuda.shares", 1, Decimal("0.5"), 2)
    assert sorted(device.left for device in state.devices) == [0, Decimal("0.5")]
    assert {holder.int for holder in state.holders} == {8, 9}


def test_the_largest_part_that_fits_is_found_and_the_smallest_session_that_could_go() -> None:
    nodes = (node("a", 8, 64, *gpus(2)),)
    placed = running(nodes, session(8, slots(1, 1, cuda_shares=0.5)), session(9, slots(1, 1, cuda_shares=1)))
    found = told(nodes, of=session(1, slots(1, 1, cuda_shares=1)), placed=placed)
    one = ResourceSlots({"cuda.shares": Decimal(1)})
    smaller = SmallerKernels(ResourceSlots({"cuda.shares": Decimal("0.5")}), one)
    assert changes(found) == [(SessionsGone((UUID(int=8),)),), (smaller,)]


def test_where_several_must_go_they_are_the_fewest() -> None:
    nodes = (node("a", 8, 64, *gpus(1)),)
    asked = [session(10 + i, slots(1, 1, cuda_shares=amount)) for i, amount in enumerate((0.3, 0.3, 0.1, 0.2))]
    found = told(nodes, of=session(1, slots(1, 1, cuda_shares=0.7)), placed=running(nodes, *asked))
    gone = next(change for (change, *_) in changes(found) if isinstance(change, SessionsGone))
    assert {s.int for s in gone.sessions} == {10, 11}


def test_a_request_that_is_too_large_is_told_what_the_nodes_have_in_all() -> None:
    found = told((node("a", 8, 64, *gpus(4)), node("b", 8, 64)), of=session(1, slots(4, 100, cuda_shares=8)))
    assert obstacles(found) == [(Obstacle.LARGER_THAN_ANY_NODE, False)]
    assert [state.node for state in found.obstructions[0].nodes] == ["a", "b"]
    lacks = {lack.slot: (lack.asks, lack.total) for lack in found.obstructions[0].nodes[0].lacks}
    assert lacks == {"mem": (100 * GIB, 64 * GIB), "cuda.shares": (8, 4)}
    assert found.estimate.basis is Basis.NEVER
    half = SmallerKernels(
        ResourceSlots({"cuda.shares": Decimal(4), "mem": Decimal(50 * GIB)}),
        ResourceSlots({"cuda.shares": Decimal(8), "mem": Decimal(100 * GIB)}),
    )
    assert [helping.changes for helping in found.possible] == [(half,)]
    assert [type(change) for (change,) in changes(found)] == [SmallerKernels]


def test_what_is_too_large_behind_others_is_told_what_would_be_possible_ever() -> None:
    nodes = (node("a", 8, 64),)
    placed = running(nodes, session(9, slots(8, 1)))
    found = told(nodes, of=session(1, slots(9, 1)), placed=placed)
    assert changes(found) == []
    eight = SmallerKernels(ResourceSlots({"cpu": Decimal(8)}), ResourceSlots({"cpu": Decimal(9)}))
    assert [helping.changes for helping in found.possible] == [(eight,)]


def test_other_models_slots_groups_and_nodes_are_tried_and_told_where_they_help() -> None:
    big = replace(node("c", 8, 64, *gpus(1)), scaling_group="other")
    h100 = (Device("GPU-9", "cuda.shares", "H100", shares=10), Device("MIG-1", "cuda.1g", "A100"))
    nodes = (node("a", 8, 64, *gpus(1)), node("b", 8, 64, *h100), big)
    placed = running(nodes[:1], session(8, slots(1, 1, cuda_shares=1)))
    asked = session(1, slots(1, 1, cuda_shares=1), models=frozenset({"A100"}))
    found = told(nodes, of=asked, placed=placed, groups=("default", "other"))
    said = {change for (change,) in changes(found)}
    assert {OtherModels(frozenset({"H100"})), OtherGroup("other"), OtherSlot("cuda.shares", "cuda.1g")} <= said
    found = told(nodes, of=replace(asked, models=frozenset(), nodes=frozenset({"a"})), placed=placed)
    assert AnyNode(frozenset({"a"})) in {change for (change,) in changes(found)}


def test_the_missing_quota_is_exact_and_so_are_the_numbers_of_it() -> None:
    nodes = (node("a", 64, 64),)
    placed = running(nodes, session(8, slots(5, 1)), session(9, slots(2, 1)))
    quota = Quota(KEYPAIR, SlotLimit(ResourceSlots({"cpu": Decimal(8)})))
    found = told(nodes, of=session(1, slots(4, 1)), placed=placed, quotas=(quota,))
    (state,) = found.obstructions[0].quotas
    assert (state.slot, state.has, state.asks, state.limit, state.missing) == ("cpu", 7, 4, 8, 3)
    said = [change for (change,) in changes(found)]
    assert MoreQuota(KEYPAIR, ResourceSlots({"cpu": Decimal(3)})) in said
    assert SessionsGone((UUID(int=8),)) in said
    assert SmallerKernels(ResourceSlots({"cpu": Decimal(1)}), ResourceSlots({"cpu": Decimal(4)})) in said


def test_more_quota_counts_what_those_ahead_would_take_of_it() -> None:
    nodes = (node("a", 64, 64),)
    quota = Quota(KEYPAIR, SlotLimit(ResourceSlots({"cpu": Decimal(1)})))
    found = told(nodes, session(1, slots(2, 1)), of=session(2, slots(2, 1)), quotas=(quota,))
    assert changes(found)[0] == (MoreQuota(KEYPAIR, ResourceSlots({"cpu": Decimal(3)})),)


def test_too_many_sessions_are_told_with_how_many_there_may_be() -> None:
    nodes = (node("a", 64, 64),)
    placed = running(nodes, session(8, slots(1, 1)), session(9, slots(1, 1)))
    found = told(nodes, of=session(1, slots(1, 1)), placed=placed, quotas=(Quota(KEYPAIR, sessions=2),))
    (state,) = found.obstructions[0].quotas
    assert (state.slot, state.has, state.limit) == (None, 2, 2)
    assert (MoreQuota(KEYPAIR, ResourceSlots(), 1),) in changes(found)


def test_what_comes_after_the_quota_is_told_too_and_what_helps_says_both() -> None:
    nodes = (node("a", 4, 64), replace(node("b", 8, 64), scaling_group="other"))
    placed = running(nodes, session(8, slots(3, 1)))
    quota = Quota(KEYPAIR, SlotLimit(ResourceSlots({"cpu": Decimal(4)})))
    found = told(nodes, of=session(1, slots(3, 1)), placed=placed, quotas=(quota,), groups=("other",))
    assert obstacles(found) == [(Obstacle.KEYPAIR_QUOTA, False), (Obstacle.NO_ROOM, True)]
    more = MoreQuota(KEYPAIR, ResourceSlots({"cpu": Decimal(2)}))
    assert (more, OtherGroup("other")) in changes(found)
    assert (SessionsGone((UUID(int=8),)),) in changes(found)


def test_a_session_before_its_time_or_with_parents_is_told_that_nothing_else_is_missing() -> None:
    nodes = (node("a", 4, 64),)
    moment = NOW + timedelta(hours=2)
    parent = Parent(UUID(int=7), "first", SessionStatus.RUNNING, SessionResult.UNDEFINED)
    found = told(nodes, of=session(1, slots(1, 1), starts_at=moment, parents=(parent,)))
    first = TimeComes(moment), DependenciesSucceed((f"first ({parent.id})",))
    assert changes(found) == [first]
    assert (found.estimate.earliest, found.estimate.latest, found.estimate.basis) == (moment, None, Basis.UNKNOWN)
    found = told(nodes, of=session(1, slots(1, 1), starts_at=moment))
    assert (found.estimate.earliest, found.estimate.latest, found.estimate.basis) == (moment, moment, Basis.LIMITS)


def test_one_behind_others_is_told_who_they_are_and_how_short_or_important_it_must_be() -> None:
    nodes = (node("a", 4, 64),)
    placed = running(nodes, session(9, slots(3, 1), minutes=60))
    found = told(nodes, session(1, slots(4, 1)), of=session(2, slots(1, 1)), placed=placed)
    assert obstacles(found) == [(Obstacle.BEHIND_THE_HEAD, False)]
    assert found.obstructions[0].sessions == (UUID(int=1),)
    assert found.queue is not None
    assert (found.queue.position, found.queue.length) == (2, 2)
    assert [(a.session.int, a.obstacle, a.keeps_room) for a in found.queue.ahead] == [(1, Obstacle.NO_ROOM, True)]
    said = {change for (change,) in changes(found)}
    assert {TimeLimit(timedelta(minutes=50)), HigherPriority(11), SessionsGone((UUID(int=1),))} <= said


def test_the_start_of_one_with_room_kept_is_by_when_the_others_must_end() -> None:
    nodes = (node("a", 4, 64),)
    placed = running(nodes, session(9, slots(3, 1), minutes=60))
    found = told(nodes, of=session(1, slots(4, 1)), placed=placed).estimate
    assert (found.earliest, found.latest, found.basis) == (NOW, NOW + timedelta(minutes=60), Basis.RESERVED)
    assert [s.int for s in found.waits_for] == [9]
    endless = (replace(placed[0], ends_at=None),)
    found = told(nodes, of=session(1, slots(4, 1)), placed=endless).estimate
    assert (found.latest, found.basis, found.waits_for[0].int) == (None, Basis.RESERVED_UNKNOWN, 9)


def test_a_gang_is_told_how_many_of_its_kernels_would_start_and_who_would_have_to_go() -> None:
    nodes = tuple(node(name, 4, 64) for name in "abc")
    placed = running(nodes, *(session(10 + i, slots(3, 1)) for i in range(2)))
    gang = session(1, slots(4, 1), slots(4, 1), cluster_mode=ClusterMode.MULTI_NODE)
    found = told(nodes, of=gang, placed=placed)
    said = {change for (change,) in changes(found)}
    assert {FewerKernels(1, 2), SessionsGone((UUID(int=11),))} <= said


def test_a_closed_node_is_named() -> None:
    nodes = (replace(node("a", 4, 64), schedulable=False), node("b", 1, 64))
    found = told(nodes, of=session(1, slots(4, 1)))
    assert found.obstructions[0].closed == ("a",)


def test_the_planner_is_asked_no_more_often_than_it_may_be() -> None:
    nodes = tuple(node(f"n{i:02}", 4, 64, *gpus(4)) for i in range(6))
    placed = running(nodes, *(session(100 + i, slots(1, 1, cuda_shares=0.7)) for i in range(24)))
    asked = session(1, slots(4, 60, cuda_shares=4), slots(4, 60, cuda_shares=4))
    snapshot = Snapshot(NOW, nodes, (asked,), placed)
    whole = explain(snapshot, asked.id, find_plugins())
    assert whole == explain(snapshot, asked.id, find_plugins())
    cut = explain(snapshot, asked.id, find_plugins(), most_runs=3)
    assert (cut.runs, cut.complete, cut.obstructions) == (3, False, whole.obstructions)
    late = explain(snapshot, asked.id, find_plugins(), may_go_on=lambda: False)
    assert (late.runs, late.complete) == (1, False)


SMALL = st.tuples(st.integers(1, 4), st.sampled_from([0, 0.2, 0.5, 1, 2]), st.none() | st.integers(1, 90))


@given(
    st.lists(SMALL, max_size=6),
    st.lists(SMALL, max_size=5),
    st.tuples(st.integers(1, 3), SMALL),
    st.none() | st.integers(1, 12),
    st.sampled_from(["fifo", "lifo", "drf"]),
)
def test_whatever_is_said_to_help_does_and_whoever_has_a_latest_start_starts_by_then(
    before: list[tuple[int, float, int | None]],
    queue: list[tuple[int, float, int | None]],
    gang: tuple[int, tuple[int, float, int | None]],
    most_cpu: int | None,
    sequencer: str,
) -> None:
    nodes = (
        node("a", 4, 16, *gpus(2)),
        node("b", 6, 16, *gpus(1, model="H100")),
        replace(node("c", 4, 16), scaling_group="z"),
    )
    groups = (GroupView("default", sequencer), GroupView("z"))
    first = [
        session(100 + i, slots(cpu, 1, cuda_shares=gpu), minutes=limit, tenant=tenant(i % 2))
        for i, (cpu, gpu, limit) in enumerate(before)
    ]
    start = plan(Snapshot(NOW, nodes, tuple(first), (), groups), find_plugins())
    by_id = {one.id: one for one in first}
    placed = tuple(started(p, by_id[p.session], NOW) for p in start.placements)
    waiting = tuple(
        session(10 + i, slots(cpu, 1, cuda_shares=gpu), minutes=limit, tenant=tenant(i % 3))
        for i, (cpu, gpu, limit) in enumerate(queue)
    )
    count, (cpu, gpu, minutes) = gang
    asked = session(50, *(slots(cpu, 1, cuda_shares=gpu) for _ in range(count)), minutes=minutes)
    limit = SlotLimit(ResourceSlots({} if most_cpu is None else {"cpu": Decimal(most_cpu)}))
    snapshot = Snapshot(NOW, nodes, (*waiting, asked), placed, groups, (Quota(KEYPAIR, limit),))
    found = explain(snapshot, asked.id, find_plugins(), groups=("z",))
    for helping in found.counterfactuals:
        decided = plan(apply_all(helping.changes, snapshot, asked.id), find_plugins())
        assert helping.placement in decided.placements
    if found.estimate.latest is not None:
        assert starts_by_limits(snapshot, asked.id) <= found.estimate.latest


def starts_by_limits(snapshot: Snapshot, of: UUID) -> object:
    """When the session starts if each session runs into its limit."""
    moment = snapshot.taken_at
    while True:
        decided = plan(snapshot, find_plugins())
        if any(placement.session == of for placement in decided.placements):
            return moment
        snapshot = after(snapshot, decided)
        later = next_moment(snapshot)
        assert later is not None, "it never starts"
        moment, snapshot = later, at(later, snapshot)


def test_who_others_are_ended_for_is_told_which() -> None:
    nodes = (node("n1", 4), node("n2", 4))
    low = running(nodes, *(session(number, slots(cpu=4), priority=1, tenant=tenant(2)) for number in (7, 8)))
    urgent = session(1, slots(cpu=4), priority=50)
    rules = GroupView("default", preemption=PreemptionRules(scope=VictimScope.ANY))
    snapshot = Snapshot(NOW, nodes, (urgent,), low, (rules,))
    chosen = explain(snapshot, urgent.id, find_plugins()).estimate
    assert (chosen.basis, [one.int for one in chosen.waits_for], chosen.latest) == (Basis.MADE, [8], None)
    # From then on it goes first, and the plan chooses nobody any more: the one that ends is still named.
    ending = (low[0], replace(low[1], is_ending=True))
    promised = replace(urgent, first_until=NOW + timedelta(minutes=2))
    then = explain(replace(snapshot, pending=(promised,), placed=ending), urgent.id, find_plugins()).estimate
    assert (then.basis, [one.int for one in then.waits_for]) == (Basis.MADE, [8])
    over = replace(urgent, first_until=NOW - timedelta(minutes=2))
    waits = explain(replace(snapshot, pending=(over,), placed=ending), urgent.id, find_plugins()).estimate
    assert waits.basis is not Basis.MADE
