"""Room that is kept: large sessions start when they were told they would, and small ones around them."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import NOW, decide, gpus, node, seats, session, slots, started, tenant, waits

from caravan_manager.scheduler.snapshot import Obstacle, Plan


def begun(decided: Plan, *asked) -> tuple:
    by_id = {one.id: one for one in asked}
    return tuple(started(placement, by_id[placement.session]) for placement in decided.placements)


def test_one_that_ends_in_time_starts_around_the_session_that_waits() -> None:
    nodes = (node("a", 4, 64),)
    running = session(9, slots(3, 1), minutes=60)
    placed = begun(decide(nodes, running), running)
    large, long, endless = session(1, slots(4, 1)), session(2, slots(1, 1), minutes=51), session(3, slots(1, 1))
    decided = decide(nodes, large, long, endless, session(4, slots(1, 1), minutes=50), placed=placed)
    assert sorted(seats(decided)) == [4]
    (kept,) = decided.reserved
    assert (kept.session.int, kept.nodes, kept.starts_at) == (1, ("a",), NOW + timedelta(minutes=60))
    reasons = {number: (wait.obstacle, wait.about) for number, wait in waits(decided).items()}
    behind = (Obstacle.BEHIND_THE_HEAD, (str(large.id),))
    assert reasons == {1: (Obstacle.NO_ROOM, ("a",)), 2: behind, 3: behind}


def test_one_that_fits_beside_the_session_that_waits_may_run_for_ever() -> None:
    nodes = (node("a", 4, 64),)
    running = session(9, slots(2, 1), minutes=60)
    placed = begun(decide(nodes, running), running)
    decided = decide(nodes, session(1, slots(3, 1)), session(2, slots(1, 1)), session(3, slots(1, 1)), placed=placed)
    assert sorted(seats(decided)) == [2]


def test_room_is_kept_on_one_node_and_the_others_are_free() -> None:
    nodes = (node("a", 4, 64), node("b", 4, 64))
    first, second = session(8, slots(2, 1), minutes=60), session(9, slots(3, 1))
    placed = begun(decide(nodes, first, second), first, second)
    decided = decide(nodes, session(1, slots(4, 1)), session(2, slots(1, 1)), placed=placed)
    (kept,) = decided.reserved
    assert seats(decided)[2][0][0] != kept.nodes[0]


def placed_on(nodes: tuple, *wishes: tuple[int, str, float, float | None]) -> tuple:
    """Sessions that hold cpu of nodes: number, node, cpu, minutes."""
    asked = [session(n, slots(cpu, 1), minutes=length, nodes=frozenset({on})) for n, on, cpu, length in wishes]
    return begun(decide(nodes, *asked), *asked)


def test_without_known_ends_the_oldest_are_taken_to_end_first_and_the_moment_is_open() -> None:
    nodes = (node("a", 4, 64), node("b", 4, 64))
    asked = session(8, slots(4, 1)), session(9, slots(4, 1))
    old, new = begun(decide(nodes, *asked), *asked)
    placed = (old, replace(new, placed_at=new.placed_at + timedelta(seconds=1)))
    decided = decide(nodes, session(1, slots(4, 1)), placed=placed)
    assert (decided.reserved[0].nodes, decided.reserved[0].starts_at) == ((old.kernels[0].node,), None)


def test_without_known_ends_room_is_kept_where_the_fewest_must_end() -> None:
    nodes = (node("a", 4, 64), node("b", 4, 64))
    placed = placed_on(nodes, (7, "a", 2, None), (8, "a", 2, None), (9, "b", 4, None))
    oldest_on_a = tuple(replace(one, placed_at=one.placed_at - timedelta(hours=one.id.int < 9)) for one in placed)
    assert decide(nodes, session(1, slots(4, 1)), placed=oldest_on_a).reserved[0].nodes == ("b",)


def test_a_session_that_waits_starts_although_some_never_end_and_others_come_and_go() -> None:
    nodes = node("a", 10, 64, *gpus(4)), node("b", 40, 64, *(replace(d, id=f"B{d.id}") for d in gpus(4)))
    asked = [session(n, slots(1, 1), nodes=frozenset({"a"})) for n in range(100, 110)]
    placed = list(begun(decide(nodes, *asked), *asked))
    head = session(50, slots(8, 1, cuda_shares=4), tenant=tenant(2))
    ends: dict[object, int] = {}
    for step in range(100):
        at = NOW + timedelta(minutes=step)
        placed = [one for one in placed if ends.get(one.id, step + 1) > step]
        coming = [session(1000 + 10 * step + i, slots(1, 1, cuda_shares=1)) for i in range(2)]
        pending = coming if step < 2 else [head, *coming]
        decided = decide(nodes, *pending, placed=tuple(placed), at=at)
        by_id = {one.id: one for one in pending}
        if head.id in {placement.session for placement in decided.placements}:
            return
        for placement in decided.placements:
            placed.append(started(placement, by_id[placement.session], at))
            ends[placement.session] = step + 2 + placement.session.int % 3
    raise AssertionError("it starved")


def test_gangs_that_could_never_start_keep_nobodys_room_from_others() -> None:
    nodes = node("a", 4, 64), node("b", 4, 64)
    placed = placed_on(nodes, (9, "a", 1, None), (8, "b", 1, None))
    never = [session(10 + n, *[slots(4, 1 + n / 8)] * 3) for n in range(6)]
    decided = decide(nodes, *never, session(50, slots(4, 1)), session(60, slots(1, 1)), placed=placed)
    reasons = {number: wait.obstacle for number, wait in waits(decided).items()}
    assert {reasons[one.id.int] for one in never} == {Obstacle.LARGER_THAN_ANY_NODE}
    assert [kept.session.int for kept in decided.reserved] == [50]


def test_short_ones_use_what_is_kept_while_nobody_knows_when_it_is_free_and_put_it_off_once() -> None:
    nodes = (node("a", 4, 64),)
    placed = placed_on(nodes, (9, "a", 3, None))
    large = session(1, slots(4, 1))
    arriving = session(2, slots(1, 1), minutes=20), session(3, slots(1, 1), minutes=21), session(4, slots(1, 1))
    decided = decide(nodes, large, *arriving, placed=placed)
    assert sorted(seats(decided)) == [2]
    short = begun(decided, *arriving)
    later = NOW + timedelta(minutes=5)  # the stranger is gone: now it is known when there is room
    decided = decide(nodes, large, session(5, slots(1, 1), minutes=20), placed=short, at=later)
    assert seats(decided) == {}
    assert decided.reserved[0].starts_at == short[0].ends_at
    decided = decide(nodes, large, session(5, slots(1, 1), minutes=20), at=short[0].ends_at)
    assert list(seats(decided)) == [1]


def test_a_gang_keeps_room_for_all_its_members_and_holds_none() -> None:
    nodes = (node("a", 4, 64), node("b", 4, 64))
    running = session(9, slots(4, 1), minutes=60)
    placed = begun(decide(nodes, running), running)
    gang = session(1, slots(4, 1), slots(4, 1))
    decided = decide(nodes, gang, session(2, slots(4, 1), minutes=30), session(3, slots(1, 1)), placed=placed)
    assert sorted(seats(decided)) == [2]
    assert sorted(decided.reserved[0].nodes) == ["a", "b"]


@pytest.mark.parametrize("sequencer", ["fifo", "drf"])
@given(
    before=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=6),
    small=st.lists(st.tuples(st.integers(1, 2), st.none() | st.integers(1, 40)), max_size=24),
)
def test_small_ones_never_put_off_the_reserved_start_of_the_first_gang(
    sequencer: str, before: list[tuple[int, int]], small: list[tuple[int, int | None]]
) -> None:
    nodes = (node("a", 4, 64), node("b", 4, 64), node("c", 4, 64))
    running = [
        session(100 + i, slots(cpu, 1), minutes=minutes, tenant=tenant(9)) for i, (cpu, minutes) in enumerate(before)
    ]
    placed = list(begun(decide(nodes, *running), *running))
    gang = session(1, slots(3, 1), slots(3, 1), slots(3, 1))
    promised = None
    for minute in range(80):
        at = NOW + timedelta(minutes=minute)
        placed = [one for one in placed if one.ends_at is None or one.ends_at > at]
        arriving = [
            session(1000 + minute * 10 + i, slots(cpu, 1), minutes=length, tenant=tenant(2 + minute % 3))
            for i, (cpu, length) in enumerate(small[minute : minute + 2])
        ]
        decided = decide(nodes, gang, *arriving, placed=tuple(placed), at=at, sequencer=sequencer)
        begins = {placement.session: placement for placement in decided.placements}
        if gang.id in begins:
            assert promised is None or at <= promised
            return
        (kept,) = decided.reserved[:1]
        assert kept.starts_at is not None
        assert promised is None or kept.starts_at <= promised
        promised = kept.starts_at
        placed += [started(begins[one.id], one, at) for one in arriving if one.id in begins]
    raise AssertionError("the gang starved")


def test_a_shape_that_fits_nowhere_may_be_looked_for_again_after_nodes_changed() -> None:
    nodes = (node("a", 4, 16, *gpus(2)), node("b", 6, 16, *gpus(1)))
    small = [session(100 + i, slots(cpu, 1)) for i, cpu in enumerate((1, 1, 3))]
    placed = begun(decide(nodes, *small), *small)
    gang = session(50, slots(2, 1), slots(3, 1, cuda_shares=1))
    decided = decide(nodes, session(10, slots(3, 1, cuda_shares=1)), gang, placed=placed, sequencer="lifo")
    assert len(decided.placements) + len(decided.waits) == 2


def test_room_is_kept_behind_sessions_of_the_same_pass() -> None:
    nodes = (node("a", 8, 64),)
    short, whole, long = (
        session(1, slots(4, 1), minutes=60),
        session(2, slots(8, 1)),
        session(3, slots(4, 1), minutes=999),
    )
    decided = decide(nodes, short, whole, long)
    assert sorted(seats(decided)) == [1]
    assert decided.reserved[0].session == whole.id


def test_a_long_queue_behind_a_gang_costs_little() -> None:
    nodes = tuple(node(f"n{i:03}", 8, 64) for i in range(50))
    held = [session(10_000 + i, slots(8, 1)) for i in range(50)]
    placed = begun(decide(nodes, *held), *held)
    gang = session(1, *[slots(8, 1)] * 50)
    began = time.process_time()
    decided = decide(nodes, gang, *(session(i, slots(1, 1), minutes=i) for i in range(2, 2002)), placed=placed)
    assert len(decided.waits) == 2001
    assert time.process_time() - began < 2
