"""Devices: what is planned, the node can give."""

import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.manager.scheduler.made import decide, gpus, node, seats, session, slots, started, waits

from caravan_common.states import ClusterMode
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.reasons import checks_of
from caravan_manager.scheduler.snapshot import Obstacle, Reason

TOGETHER = {"cluster_mode": ClusterMode.SINGLE_NODE}


def share(amount: float) -> object:
    return slots(1, 1, cuda_shares=amount)


def test_two_parts_that_make_a_whole_share_one_device() -> None:
    decided = decide((node("a", 64, 64, *gpus(2)),), session(1, share(0.3)), session(2, share(0.7)))
    assert seats(decided) == {1: [("a", {"GPU-0": 0.3})], 2: [("a", {"GPU-0": 0.7})]}


def test_three_halves_need_two_devices_and_a_fourth_fits_beside() -> None:
    halves = [session(i, share(0.5)) for i in range(1, 6)]
    decided = decide((node("a", 64, 64, *gpus(2)),), *halves)
    used = Counter(device for kernels in seats(decided).values() for _, devices in kernels for device in devices)
    assert used == {"GPU-0": 2, "GPU-1": 2}
    assert waits(decided)[5].obstacle is Obstacle.NO_ROOM


def test_a_part_never_straddles_devices() -> None:
    busy = [session(i, share(0.6)) for i in (1, 2)]
    decided = decide((node("a", 64, 64, *gpus(2)),), *busy, session(3, share(0.7)))
    assert sorted(seats(decided)) == [1, 2]


def test_four_devices_are_had_whole_or_not_at_all() -> None:
    nodes = (node("a", 64, 64, *gpus(4)),)
    assert seats(decide(nodes, session(1, share(4))))[1] == [("a", {f"GPU-{i}": 1.0 for i in range(4)})]
    decided = decide(nodes, session(1, share(0.1)), session(2, share(4)))
    assert waits(decided)[2].obstacle is Obstacle.NO_ROOM


def test_more_than_one_is_whole_devices_and_a_part_of_another() -> None:
    nodes = (node("a", 64, 64, *gpus(3)),)
    assert seats(decide(nodes, session(1, share(2.5))))[1] == [("a", {"GPU-0": 0.5, "GPU-1": 1.0, "GPU-2": 1.0})]


def test_a_part_finer_than_the_devices_is_had_nowhere() -> None:
    decided = decide((node("a", 64, 64, *gpus(1)),), session(1, share(0.25)))
    assert waits(decided)[1].obstacle is Obstacle.LARGER_THAN_ANY_NODE


def test_a_device_that_is_ill_is_given_to_nobody() -> None:
    ill = tuple(replace(device, healthy=device.id != "GPU-0") for device in gpus(2))
    assert seats(decide((node("a", 64, 64, *ill),), session(1, share(1)), session(2, share(1)))) == {
        1: [("a", {"GPU-1": 1.0})]
    }


def test_only_devices_of_the_wanted_models_are_given() -> None:
    mixed = (Device("OLD", "cuda.shares", "V100", 10), Device("NEW", "cuda.shares", "A100", 10))
    wanted = session(1, share(0.5), models=frozenset({"A100", "H100"}))
    assert seats(decide((node("a", 64, 64, *mixed),), wanted))[1] == [("a", {"NEW": 0.5})]
    nobody = decide((node("a", 64, 64, *mixed),), replace(wanted, models=frozenset({"H100"})))
    assert waits(nobody)[1].obstacle is Obstacle.LARGER_THAN_ANY_NODE


def test_whole_devices_come_from_one_numa_node_where_it_has_enough() -> None:
    spread = tuple(Device(f"GPU-{i}", "cuda.device", "A100", numa_node=i % 2) for i in range(5))
    decided = decide((node("a", 64, 64, *spread),), session(1, slots(1, 1, cuda_device=2)))
    assert seats(decided)[1] == [("a", {"GPU-1": 1.0, "GPU-3": 1.0})]


def test_kernels_on_a_single_node_have_parts_of_their_own() -> None:
    decided = decide((node("a", 64, 64, *gpus(2)),), session(1, share(0.6), share(0.6), **TOGETHER))
    assert seats(decided)[1] == [("a", {"GPU-0": 0.6}), ("a", {"GPU-1": 0.6})]
    alone = decide((node("a", 64, 64, *gpus(1)),), session(1, share(0.6), share(0.6), **TOGETHER))
    assert waits(alone)[1].obstacle is Obstacle.LARGER_THAN_ANY_NODE


def test_sessions_without_devices_leave_nodes_with_devices_alone() -> None:
    nodes = (node("a", 64, 64, *gpus(4)), node("b", 64, 64))
    assert seats(decide(nodes, session(1, slots(1, 1))))[1] == [("b", {})]


def test_a_device_that_gives_another_slot_now_is_still_held() -> None:
    asked = session(1, slots(1, 1, cuda_device=1))
    whole = (node("a", 64, 64, *gpus(1, slot="cuda.device", shares=1)),)
    placed = tuple(started(placement, asked) for placement in decide(whole, asked).placements)
    assert seats(decide((node("a", 64, 64, *gpus(1)),), session(2, share(0.1)), placed=placed)) == {}


def test_what_sessions_hold_of_a_node_that_changed_its_scaling_group_is_not_given_twice() -> None:
    asked = session(1, share(1))
    nodes = (node("a", 64, 64, *gpus(1)),)
    placed = tuple(replace(started(p, asked), scaling_group="other") for p in decide(nodes, asked).placements)
    assert seats(decide(nodes, session(2, share(0.1)), placed=placed)) == {}


def test_a_gang_of_unequal_kernels_starts_although_the_best_node_of_one_is_the_only_one_of_another() -> None:
    nodes = node("a", 1, 64, *gpus(2, shares=1)), node("b", 2, 64, *gpus(2, shares=4))
    gang = session(1, slots(1, 1, cuda_shares=0.25), slots(1, 1, cuda_shares=2))
    assert [where for where, _ in seats(decide(nodes, gang, selector="dispersed"))[1]] == ["b", "a"]


def test_a_gang_of_unequal_kernels_that_ends_in_time_starts_beside_the_session_that_waits() -> None:
    nodes = node("a", 4, 64), node("b", 4, 64)
    running = session(9, slots(2, 8), minutes=600, nodes=frozenset({"a"}))
    placed = tuple(started(placement, running) for placement in decide(nodes, running).placements)
    head = session(1, slots(4, 64), slots(4, 64))
    gang = session(2, slots(2, 10), slots(1.5, 50), minutes=30)
    assert list(seats(decide(nodes, head, gang, placed=placed))) == [2]


@pytest.mark.parametrize(
    ("amount", "limit"),
    [(0.33, "multiples of 0.05 or 0.1 cuda.shares"), (1.02, "multiples of 0.05 or 0.1 cuda.shares"), (9.5, "")],
)
def test_a_part_that_no_device_gives_is_told_with_what_they_give(amount: float, limit: str) -> None:
    nodes = (node("a", 64, 64, *gpus(2, shares=20), Device("GPU-9", "cuda.shares", "A100", shares=10)),)
    wait = waits(decide(nodes, session(1, share(amount))))[1]
    assert wait.reasons == (Reason(Obstacle.LARGER_THAN_ANY_NODE, ("a",), limit),)
    said = checks_of(wait).failed[0][1]
    assert said == (f"a (accelerators are given in {limit})" if limit else "a")


@pytest.mark.parametrize("amount", [0.02, 0.05, 0.07, 0.1, 0.15, 0.25, 0.33, 0.9, 1.05, 1.5])
def test_where_devices_are_divided_differently_the_parts_that_are_told_are_those_that_agents_take(
    amount: float,
) -> None:
    nodes = (node("a", 64, 64, *gpus(2, shares=20)), node("b", 64, 64, *gpus(2, shares=50)))
    taken = any(Decimal(str(amount)) * shares % 1 == 0 for shares in (20, 50))
    plan = decide(nodes, session(1, share(amount)))
    assert list(seats(plan)) == [1] * taken
    assert taken or waits(plan)[1].reasons[0].limit == "multiples of 0.02 or 0.05 cuda.shares"


def test_the_parts_are_those_of_the_models_that_will_do_and_of_healthy_devices() -> None:
    coarse = Device("GPU-9", "cuda.shares", "H100", shares=10)
    nodes = (node("a", 64, 64, *gpus(1, shares=20), coarse, replace(coarse, id="GPU-8", shares=100, healthy=False)),)
    wait = waits(decide(nodes, session(1, share(0.25), models=frozenset({"H100"}))))[1]
    assert wait.reasons[0].limit == "multiples of 0.1 cuda.shares"
    assert list(seats(decide(nodes, session(1, share(0.25))))) == [1]


def test_roundrobin_takes_another_node_for_each_kernel() -> None:
    nodes = tuple(node(name, 8, 64) for name in "abcd")
    decided = seats(decide(nodes, session(1, slots(1, 1), slots(1, 1)), session(2, slots(1, 1)), selector="roundrobin"))
    assert [[where for where, _ in decided[number]] for number in (1, 2)] == [["a", "b"], ["c"]]


def test_a_thousand_unequal_gangs_that_do_not_fit_cost_little() -> None:
    nodes = tuple(node(f"n{i:03}", 8, 64) for i in range(100))
    gangs = [session(i, *[slots(5, 1)] * 61, *[slots(4, 1 + i / 1000)] * 90) for i in range(1, 301)]
    began = time.process_time()
    decided = decide(nodes, *gangs, session(1000, slots(1, 1)))
    assert list(seats(decided)) == [1000]
    assert time.process_time() - began < 20
