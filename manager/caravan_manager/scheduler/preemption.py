"""Who must end so that a session of higher priority starts. Pure.

A scaling group's rules say whether at all (off by default), who may be taken and in which order. Of those that would
make room, none is taken that need not be.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from caravan_common.states import SessionType
from caravan_manager.scheduler.snapshot import PreemptionOrder, PreemptionRules, VictimScope
from caravan_manager.sessions.queue import PendingSession, PlacedSession

MOST_SPARED = 64
"""Of how many of those that would make room it is asked whether they are needed."""
MOST_NODES = 32
"""How many nodes are compared; those with the cheapest session first."""
ADDITIVE = frozenset({PreemptionOrder.LEAST_WORK, PreemptionOrder.SMALLEST_RESOURCES})
"""Orders by what is lost: two small losses may be more than one large one."""
Makes = Callable[[Sequence[PlacedSession]], tuple[int, Collection[str]] | None]
"""Says how many of some sessions, the first ones, must end to make room, and on which nodes; None if all do not."""
_Cost = tuple[int, float]
"""A priority, and what is lost."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A session, and what would make room for it."""

    session: PendingSession
    makes_room: Makes
    is_gang: bool


def choose_victims(
    wish: Wish, placed: Sequence[PlacedSession], rules: PreemptionRules, now: datetime, capacity: Mapping[str, float]
) -> tuple[PlacedSession, ...]:
    """Return the sessions to end, none when that would not make room. ``capacity`` is the scaling group's."""
    allowed = [one for one in placed if _may_be_taken(one, wish.session, rules, now)]
    cost = _costs(rules.order, allowed, now, capacity)
    ordered = sorted(allowed, key=lambda one: (cost[one.id], one.id))
    best = _needed(wish, ordered)
    if rules.order not in ADDITIVE or wish.is_gang or len(best) < 2:
        return tuple(best)
    for candidates in _by_node(ordered)[:MOST_NODES]:
        if cost[candidates[0].id] >= _loss(best, cost):
            break
        here = _needed(wish, candidates)
        if here and _loss(here, cost) < _loss(best, cost):
            best = here
    return tuple(best)


def _needed(wish: Wish, ordered: Sequence[PlacedSession]) -> list[PlacedSession]:
    """Return those of the sessions that make room together and not without one of them, the cheap ones if possible."""
    found = wish.makes_room(ordered)
    if found is None:
        return []
    count, nodes = found
    victims = [one for one in ordered[:count] if any(kernel.node in nodes for kernel in one.kernels)]
    for spared in victims[-2 : -2 - MOST_SPARED : -1]:
        without = [one for one in victims if one is not spared]
        if wish.makes_room(without) is not None:
            victims = without
    return victims


def _by_node(ordered: Sequence[PlacedSession]) -> list[list[PlacedSession]]:
    """Return the sessions of each node; the node of the first session comes first."""
    of_node: dict[str, list[PlacedSession]] = {}
    for one in ordered:
        for node in sorted({kernel.node for kernel in one.kernels}):
            of_node.setdefault(node, []).append(one)
    return list(of_node.values())


def _loss(victims: Sequence[PlacedSession], cost: Mapping[UUID, _Cost]) -> _Cost:
    return max(cost[one.id][0] for one in victims), sum(cost[one.id][1] for one in victims)


def _may_be_taken(one: PlacedSession, session: PendingSession, rules: PreemptionRules, now: datetime) -> bool:
    return (
        not one.is_ending
        and not one.is_unsettled
        and one.type is not SessionType.SYSTEM
        and one.priority <= rules.preemptible_priority
        and one.priority < session.priority
        and now - one.placed_at >= rules.min_runtime
        and _is_in_scope(one, session, rules.scope)
    )


def _is_in_scope(one: PlacedSession, session: PendingSession, scope: VictimScope) -> bool:
    mine, theirs = session.tenant, one.tenant
    return {
        VictimScope.USER: mine.user == theirs.user,
        VictimScope.PROJECT: mine.project == theirs.project,
        VictimScope.DOMAIN: mine.domain == theirs.domain,
        VictimScope.ANY: True,
    }[scope]


def _costs(
    order: PreemptionOrder, placed: Sequence[PlacedSession], now: datetime, capacity: Mapping[str, float]
) -> dict[UUID, _Cost]:
    """Return what victims are ordered by: the first one is ended before the others; priorities come first."""
    of_user = Counter(one.tenant.user for one in placed)

    def share(one: PlacedSession) -> float:
        parts = [float(amount) / capacity[slot] for slot, amount in one.slots.items() if capacity.get(slot)]
        return max(parts, default=0.0)

    def cost(one: PlacedSession) -> float:
        seconds = (now - one.placed_at) / timedelta(seconds=1)
        return {
            PreemptionOrder.LEAST_WORK: seconds * share(one),
            PreemptionOrder.OLDEST: -seconds,
            PreemptionOrder.NEWEST: seconds,
            PreemptionOrder.FEWEST_SESSIONS: float(of_user[one.tenant.user]),
            PreemptionOrder.SMALLEST_RESOURCES: share(one),
        }[order]

    return {one.id: (one.priority, cost(one)) for one in placed}
