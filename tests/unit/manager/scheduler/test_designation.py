"""Nodes that a user designates: one for the session, or one for each of a gang's kernels."""

from dataclasses import replace

from tests.unit.manager.scheduler.made import decide, node, seats, session, slots, waits

from caravan_manager.scheduler.snapshot import Obstacle, Reason
from caravan_manager.sessions.queue import PendingSession

NODES = (node("a", cpu=8), node("b", cpu=8), node("c", cpu=2))


def gang(*names: str) -> PendingSession:
    """A session with a kernel of two CPUs for each of the nodes."""
    asked = session(1, *[slots(2)] * len(names), nodes=frozenset(names))
    return replace(asked, kernels=tuple(replace(k, node=n) for k, n in zip(asked.kernels, names, strict=True)))


def test_each_kernel_starts_on_its_node() -> None:
    assert [name for name, _ in seats(decide(NODES, gang("b", "a", "b")))[1]] == ["b", "a", "b"]


def test_where_one_kernel_never_has_room_none_starts() -> None:
    assert waits(decide(NODES, gang("a", "c", "c")))[1].obstacle is Obstacle.LARGER_THAN_ANY_NODE


def test_a_node_that_is_away_is_waited_for_by_name() -> None:
    asked = gang("a", "gone", "b")
    assert waits(decide(NODES, asked))[1].reasons == (Reason(Obstacle.NOT_DESIGNATED, ("gone",)),)
    assert len(seats(decide(NODES, asked.anywhere()))[1]) == 3
