"""The graph of what a session depends on, as a tree. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from caravan_manager.sessions.model import Session

Edge = tuple[UUID, UUID]
"""A session, and one that it depends on."""


DEEPEST = 100


@dataclass(frozen=True, slots=True)
class DependencyNode:
    """A session in the tree. What several depend on is spread out where it is first met, and named elsewhere."""

    session: Session
    depends_on: tuple["DependencyNode", ...]


def dependency_tree(root: UUID, edges: Iterable[Edge], sessions: Mapping[UUID, Session]) -> DependencyNode:
    """Return the tree below ``root``, parents by name, at most DEEPEST levels.

    Ends of edges that ``sessions`` lacks are left out.
    """
    parents: defaultdict[UUID, list[Session]] = defaultdict(list)
    for child, parent in edges:
        if parent in sessions:
            parents[child].append(sessions[parent])
    return _spread(sessions[root], parents, set(), DEEPEST)


def _spread(session: Session, parents: Mapping[UUID, list[Session]], seen: set[UUID], deepest: int) -> DependencyNode:
    if session.id in seen or deepest == 0:
        return DependencyNode(session, ())
    seen.add(session.id)
    wanted = sorted(parents.get(session.id, ()), key=lambda parent: (parent.name, parent.created_at))
    return DependencyNode(session, tuple(_spread(parent, parents, seen, deepest - 1) for parent in wanted))
