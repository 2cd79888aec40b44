"""`concentrated` and `dispersed`: the fullest and the emptiest node, without touching devices that nobody asked for."""

import pytest
from tests.unit.manager.scheduler.made import NOW, decide, gpus, node, seats, session, slots, started

from caravan_common.slots import ResourceSlots
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.queue import PlacedSession

THREE = (node("a", 16, 64), node("b", 8, 64), node("c", 32, 64))


def held(nodes: tuple[NodeView, ...], *wanted: tuple[str, ResourceSlots]) -> tuple[PlacedSession, ...]:
    """Sessions that hold something of the nodes named."""
    asked = {
        one.id: one for one in (session(90 + i, want, nodes=frozenset({on})) for i, (on, want) in enumerate(wanted))
    }
    return tuple(started(p, asked[p.session], NOW) for p in decide(nodes, *asked.values()).placements)


def order(selector: str, nodes: tuple[NodeView, ...], want: ResourceSlots, *placed: PlacedSession) -> str:
    """The nodes that as many equal sessions as there is room for get, one after the other."""
    wanted = [session(number, want) for number in range(1, 9)]
    return "".join(where[0][0] for where in seats(decide(nodes, *wanted, placed=placed, selector=selector)).values())


def test_concentrated_fills_the_fullest_node_before_it_takes_the_next() -> None:
    assert order("concentrated", THREE, slots(4, 1)) == "bbaaaacc"


def test_dispersed_takes_the_emptiest_node_each_time() -> None:
    assert order("dispersed", THREE, slots(4, 1)) == "ccccacac"


def test_what_runs_already_counts() -> None:
    placed = held(THREE, ("c", slots(28, 1)))
    assert order("concentrated", THREE, slots(4, 1), *placed) == "cbbaaaa"
    assert order("dispersed", THREE, slots(4, 1), *placed) == "aababca"


@pytest.mark.parametrize(("selector", "where"), [("concentrated", "c"), ("dispersed", "b")])
def test_memory_tells_nodes_apart_that_have_as_many_cpu_left(selector: str, where: str) -> None:
    nodes = (node("a", 8, 64), node("b", 8, 128), node("c", 8, 32))
    assert order(selector, nodes, slots(1, 1))[0] == where


@pytest.mark.parametrize("selector", ["concentrated", "dispersed"])
def test_of_equal_nodes_the_first_by_name_is_taken(selector: str) -> None:
    assert order(selector, (node("b"), node("a"), node("c")), slots(1, 1))[0] == "a"


@pytest.mark.parametrize(
    ("nodes", "selector"),
    [
        ((node("a", 4, 8, *gpus(4)), node("b", 64, 256)), "concentrated"),
        ((node("a", 64, 256, *gpus(4)), node("b", 4, 8)), "dispersed"),
    ],
)
def test_a_node_with_devices_is_left_alone_by_who_asks_for_none(nodes: tuple[NodeView, ...], selector: str) -> None:
    assert order(selector, nodes, slots(2, 1))[0] == "b", "although the other one is fuller, or emptier"


def test_accelerators_count_before_cpu_and_memory() -> None:
    nodes = (node("a", 4, 8, *gpus(4)), node("b", 64, 256, *gpus(2)))
    want = slots(1, 1, cuda_shares=1)
    assert order("concentrated", nodes, want)[:3] == "bba", "it has fewer of them left, and more of the rest"
    assert order("dispersed", nodes, want) == "aababa", "of as many accelerators more cpu is better"


def test_a_node_without_room_is_passed_over() -> None:
    nodes = (node("a", 2, 64), node("b", 64, 64))
    assert order("concentrated", nodes, slots(4, 1))[0] == "b"
    assert order("dispersed", (node("a", 64, 1), node("b", 8, 64)), slots(4, 8))[0] == "b"
