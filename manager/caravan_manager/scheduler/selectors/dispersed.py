"""`dispersed`: use the nodes that are emptiest, so that sessions get in each other's way least."""

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.concentrated import by_weight, unused_kinds
from caravan_manager.scheduler.selectors.selector import Beside, Room, as_columns


class Dispersed:
    """The fewest kinds of resources that the session does not use, then the most left of what it uses."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the number of unused kinds."""
        return unused_kinds(demand, self._room, rows)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what is left of each wanted slot, the most first."""
        return as_columns(*(-self._room.left.left(slot, rows) for slot in by_weight(demand)))
