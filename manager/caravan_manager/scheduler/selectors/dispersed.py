"""`dispersed`: use the nodes that are emptiest, so that sessions get in each other's way least."""

from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ints
from caravan_manager.scheduler.selectors.concentrated import by_weight, unused_kinds
from caravan_manager.scheduler.selectors.selector import Room, Scores, as_columns


class Dispersed:
    """The fewest kinds of resources that the session does not use, then the most left of what it uses."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, demand: Demand, rows: Ints) -> Scores:
        """Return the unused kinds, and what is missing of each wanted slot."""
        left = [-self._room.left.left(slot, rows) for slot in by_weight(demand)]
        return as_columns(unused_kinds(demand, self._room, rows), *left)
