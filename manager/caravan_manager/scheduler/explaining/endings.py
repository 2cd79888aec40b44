"""Without which sessions there would be room for another, as far as that is seen without the planner. Pure."""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import numpy as np

from caravan_manager.scheduler.explaining.model import NodeState
from caravan_manager.scheduler.explaining.obstructions import Nodes
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.sessions.queue import PlacedSession

_THE_ROW = np.array([0])


def cost(session: PlacedSession) -> tuple[float, float, float, UUID]:
    """Return what is lost when a session goes: accelerators, then cpu, then how long it has been there."""
    slots = session.slots
    accelerators = sum(float(amount) for slot, amount in slots.items() if slot not in {"cpu", "mem"})
    return (accelerators, float(slots.get("cpu", 0)), -session.placed_at.timestamp(), session.id)


def sets_of_one_node(nodes: Nodes) -> list[tuple[UUID, ...]]:
    """Return sets of sessions without which one node has room for all of the session, the cheapest first.

    Empty for a session of several parts: what these lack is not said of one node.
    """
    if len(nodes.parts) != 1:
        return []
    sets = [_on(nodes, state) for state in nodes.states()]
    sets = [gone for gone in sets if gone]
    sets.sort(key=lambda gone: (len(gone), [cost(session) for session in gone]))
    return [tuple(session.id for session in gone) for gone in sets]


def latest_first(placed: Iterable[PlacedSession], nodes: Iterable[str]) -> list[PlacedSession]:
    """Return the sessions on some nodes, those that were placed last first."""
    names = frozenset(nodes)
    there = [session for session in placed if any(kernel.node in names for kernel in session.kernels)]
    return sorted(there, key=lambda session: (-session.placed_at.timestamp(), session.id))


def _on(nodes: Nodes, state: NodeState) -> tuple[PlacedSession, ...]:
    """Return the fewest sessions of a node without which there is room; cheaper ones instead where they do as well."""
    here = sorted((s for s in nodes.placed if any(k.node == state.node for k in s.kernels)), key=cost)
    empty, demand = Ledger.of([nodes.views[state.node]]), nodes.parts[0]

    def fits(kept: Iterable[PlacedSession]) -> bool:
        return bool(empty.holding(kept).fits(demand, _THE_ROW)[0])

    def weight(session: PlacedSession) -> float:
        return sum(float(session.slots.get(lack.slot, 0) / lack.asks) for lack in state.lacks)

    single = next((s for s in here if fits([other for other in here if other is not s])), None)
    return _fewest(sorted(here, key=weight), fits) if single is None else (single,)


def _fewest(
    lightest_first: Sequence[PlacedSession], fits: Callable[[Iterable[PlacedSession]], bool]
) -> tuple[PlacedSession, ...]:
    """Take the heaviest away until there is room; let each stay who need not go, or for whom a lighter one can."""
    kept, gone = list(lightest_first), list[PlacedSession]()
    while kept and not fits(kept):
        gone.append(kept.pop())
    if not fits(kept):
        return ()
    for session in list(gone):
        kept.append(session)
        gone.remove(session)
        if fits(kept):
            continue
        lighter = next((s for s in kept if fits([other for other in kept if other is not s])), session)
        kept.remove(lighter)
        gone.append(lighter)
    return tuple(gone)
