"""`roundrobin`: one node after the other."""

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.selector import Beside, Room


class RoundRobin:
    """The node that was given a session the longest time ago. What only ended sessions used counts as never used."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return when each node was last used."""
        return self._room.left.last_used[rows].astype(np.float64)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return the same for each: of nodes that were never used the first by name."""
        return np.zeros(len(rows))
