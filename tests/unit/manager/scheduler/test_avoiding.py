"""A gang that lost a rank on a node prefers others, and takes it when there are not enough of them."""

from dataclasses import replace

from tests.unit.manager.scheduler.made import NOW, node, session, slots

from caravan_common.states import ClusterMode
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import NodeView, Snapshot
from caravan_manager.sessions.queue import PendingSession

AVOIDED = frozenset({"a"})


def nodes_of(asked: PendingSession, *nodes: NodeView) -> list[str]:
    """Return the nodes that the session's kernels get."""
    decided = plan(Snapshot(NOW, nodes, (asked,)), find_plugins())
    return sorted(seat.node for placement in decided.placements for _, seat in placement.seats)


def test_another_node_is_taken_first() -> None:
    asked = session(1, slots(1), slots(1), cluster_mode=ClusterMode.SINGLE_NODE, avoid=AVOIDED)
    assert nodes_of(replace(asked, avoid=frozenset()), node("a", cpu=2), node("b")) == ["a", "a"], "it fits best"
    assert nodes_of(asked, node("a", cpu=2), node("b")) == ["b", "b"]


def test_the_node_is_taken_when_no_other_would_ever_do() -> None:
    asked = session(1, slots(2), slots(2), cluster_mode=ClusterMode.SINGLE_NODE, avoid=AVOIDED)
    assert nodes_of(asked, node("a", cpu=4), node("b", cpu=2)) == ["a", "a"]


def test_the_node_is_taken_when_there_are_fewer_others_than_kernels() -> None:
    asked = session(1, slots(4), slots(4), avoid=AVOIDED)
    assert nodes_of(asked, node("a", cpu=4), node("b", cpu=4)) == ["a", "b"]
    assert nodes_of(asked, node("a", cpu=4), node("b", cpu=4), node("c", cpu=4)) == ["b", "c"]
