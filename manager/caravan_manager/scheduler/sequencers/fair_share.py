"""`fair-share`: whoever had least lately goes next, domains first, then projects in them, then users.

What was had decays: an hour of the whole scaling group counts half after one half-life. A weight of 2 lets its holder
have twice as much before others go first. A session that starts counts as CHARGE_SECONDS of its share at once, so that
one who had nothing does not get the whole of a pass.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import cast

from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler.options import WEIGHED, WEIGHTS
from caravan_manager.scheduler.sequencers.sequencer import Turns, Usage
from caravan_manager.sessions.queue import PendingSession

CHARGE_SECONDS = 3600.0
_Factors = tuple[float, float, float]


class FairShare:
    """Tenants in the order of what they had for their weight; the sessions of one in the order of submission."""

    needs_past = True

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield the next session of the tenant who had least."""
        had = _Had(usage, options)
        queues: defaultdict[Tenant, deque[PendingSession]] = defaultdict(deque)
        for session in sorted(pending, key=lambda s: s.sequence):
            queues[session.tenant].append(session)
        heap = [(had.factors(tenant), queue[0].sequence, tenant) for tenant, queue in queues.items()]
        heapq.heapify(heap)
        while heap:
            factors, sequence, tenant = heap[0]
            if factors != (now := had.factors(tenant)):  # another one of the domain or project started something
                heapq.heapreplace(heap, (now, sequence, tenant))
                continue
            session = queues[tenant].popleft()
            if (yield session):
                had.charge(tenant, usage.dominant_share(session.slots.floats) * CHARGE_SECONDS)
            if queues[tenant]:
                heapq.heapreplace(heap, (had.factors(tenant), queues[tenant][0].sequence, tenant))
            else:
                heapq.heappop(heap)


class _Had:
    """What each domain, project and user had, for its weight."""

    def __init__(self, usage: Usage, options: Mapping[str, object]) -> None:
        self._levels = (
            dict(usage.past.of_domains),
            {str(project): had for project, had in usage.past.of_projects.items()},
            {str(user): had for user, had in usage.past.of_users.items()},
        )
        given = _object(options.get(WEIGHTS))
        self._weights = tuple(_numbers(_object(given.get(level))) for level in WEIGHED)

    def factors(self, tenant: Tenant) -> _Factors:
        domain, project, user = (
            had.get(name, 0.0) / weights.get(name, 1.0)
            for name, had, weights in zip(_names(tenant), self._levels, self._weights, strict=True)
        )
        return domain, project, user

    def charge(self, tenant: Tenant, seconds: float) -> None:
        for name, had in zip(_names(tenant), self._levels, strict=True):
            had[name] = had.get(name, 0.0) + seconds


def _names(tenant: Tenant) -> tuple[str, str, str]:
    return tenant.domain, str(tenant.project), str(tenant.user)


def _object(value: object) -> dict[str, object]:
    """Return what JSON had as an object; an empty one for anything else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _numbers(weights: dict[str, object]) -> dict[str, float]:
    """Return the weights that can be one: what is no positive number is left out."""
    return {name: float(weight) for name, weight in weights.items() if isinstance(weight, int | float) and weight > 0}
