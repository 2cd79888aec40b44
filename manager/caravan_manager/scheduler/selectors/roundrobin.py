"""`roundrobin`: one node after the other."""

from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ints
from caravan_manager.scheduler.selectors.selector import Room, Scores, as_columns


class RoundRobin:
    """The node that was given a session the longest time ago. What only ended sessions used counts as never used."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, demand: Demand, rows: Ints) -> Scores:
        """Return when each node was last used."""
        return as_columns(self._room.left.last_used[rows])
