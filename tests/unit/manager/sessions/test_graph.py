"""The tree of dependencies."""

from dataclasses import replace
from uuid import UUID

from tests.unit.manager.sessions_made import pending

from caravan_manager.sessions.graph import DEEPEST, dependency_tree


def test_a_long_chain_is_told_as_far_as_an_answer_can_nest() -> None:
    sessions = {UUID(int=n): replace(pending(), id=UUID(int=n), name=f"link-{n}") for n in range(2 * DEEPEST)}
    edges = [(UUID(int=n), UUID(int=n + 1)) for n in range(2 * DEEPEST - 1)]

    node, depth = dependency_tree(UUID(int=0), edges, sessions), 0
    while node.depends_on:
        node, depth = node.depends_on[0], depth + 1

    assert depth == DEEPEST
