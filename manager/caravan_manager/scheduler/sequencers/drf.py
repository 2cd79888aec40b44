"""`drf`: dominant resource fairness (Ghodsi and others, NSDI 2011), by progressive filling.

Whoever has the smallest share of the slot that he has the largest share of goes next, and after each session that
starts the shares are compared anew: not one sort before the pass.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from uuid import UUID

from caravan_manager.scheduler.sequencers.sequencer import Turns, Usage, add_up
from caravan_manager.sessions.queue import PendingSession


class Drf:
    """Users in the order of their dominant shares, the sessions of one in the order of submission."""

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield the next session of the user who has least. One that does not start leaves the share as it is."""
        queues: defaultdict[UUID, deque[PendingSession]] = defaultdict(deque)
        for session in sorted(pending, key=lambda s: s.sequence):
            queues[session.tenant.user].append(session)
        held = {user: dict(usage.now.get(user, {})) for user in queues}
        heap = [(usage.dominant_share(held[user]), queue[0].sequence, user) for user, queue in queues.items()]
        heapq.heapify(heap)
        while heap:
            _, _, user = heap[0]
            session = queues[user].popleft()
            if (yield session):
                add_up(held[user], session.slots)
            if queues[user]:
                share = usage.dominant_share(held[user])
                heapq.heapreplace(heap, (share, queues[user][0].sequence, user))
            else:
                heapq.heappop(heap)
