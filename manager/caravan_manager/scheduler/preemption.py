"""Who must end so that a session of higher priority starts. Pure.

A scaling group's rules say whether at all (off by default), who may be taken and in which order. Of those that would
make room, none is taken that need not be.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from caravan_common.states import SessionType
from caravan_manager.scheduler.snapshot import PreemptionOrder, PreemptionRules, VictimScope
from caravan_manager.sessions.queue import PendingSession, PlacedSession

MOST_CANDIDATES = 256
"""How many sessions are looked at."""
Fits = Callable[[Sequence[PlacedSession]], bool]
"""Says whether there is room when so many sessions have ended."""


def choose_victims(
    session: PendingSession,
    placed: Sequence[PlacedSession],
    rules: PreemptionRules,
    now: datetime,
    capacity: Mapping[str, float],
    fits: Fits,
) -> tuple[PlacedSession, ...]:
    """Return the sessions to end, none when that would not make room. ``capacity`` is the scaling group's."""
    allowed = [one for one in placed if _may_be_taken(one, session, rules, now)]
    ordered = sorted(allowed, key=_key(rules.order, allowed, now, capacity))[:MOST_CANDIDATES]
    if not ordered or not fits(ordered):
        return ()
    enough = bisect_left(range(1, len(ordered) + 1), True, key=lambda count: fits(ordered[:count])) + 1
    victims = ordered[:enough]
    for spared in reversed(victims[:-1]):
        without = [one for one in victims if one is not spared]
        if fits(without):
            victims = without
    return tuple(victims)


def _may_be_taken(one: PlacedSession, session: PendingSession, rules: PreemptionRules, now: datetime) -> bool:
    return (
        not one.is_ending
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


def _key(
    order: PreemptionOrder, placed: Sequence[PlacedSession], now: datetime, capacity: Mapping[str, float]
) -> Callable[[PlacedSession], tuple[int, float, UUID]]:
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

    return lambda one: (one.priority, cost(one), one.id)
