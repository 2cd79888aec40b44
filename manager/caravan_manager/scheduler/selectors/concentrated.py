"""`concentrated`: fill the nodes that are fullest, so that others stay free for large sessions."""

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.selector import Beside, Room, as_columns

LAST = ("cpu", "mem")
"""What matters least of a node: accelerators are scarcer."""


class Concentrated:
    """The fewest kinds of resources that the session does not use, then the least left of what it uses."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the number of unused kinds."""
        return unused_kinds(demand, self._room, rows)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what is left of each wanted slot: accelerators first, then cpu and memory."""
        return as_columns(*(self._room.left.left(slot, rows) for slot in by_weight(demand)))


def unused_kinds(demand: Demand, room: Room, rows: Ints) -> Floats:
    """Return how many kinds of resources each node has of which the demand wants nothing."""
    unused = np.zeros(len(rows))
    for slot in {*room.capacity.slots, *room.capacity.devices} - demand.slots:
        unused += room.capacity.left(slot, rows) > 0
    return unused


def by_weight(demand: Demand) -> list[str]:
    """Return the wanted slots, the scarcest kind first."""
    return sorted(demand.slots, key=lambda slot: (LAST.index(slot) if slot in LAST else -1, slot))
