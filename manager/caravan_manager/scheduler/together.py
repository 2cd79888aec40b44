"""Finds nodes for kernels of different sizes that start together, where taking the best node for each did not. Pure.

The best node for one kernel may be the only one for another. A search over the nodes, bounded: of equal nodes one is
tried, and after MOST_TRIES it is given up.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from caravan_manager.scheduler.finder import Eligible
from caravan_manager.scheduler.ledger import Ledger, numbers
from caravan_manager.scheduler.reservations import Keeper, Taken

MOST_TRIES = 64


def take_together(keeper: Keeper, wanted: Sequence[Eligible], ends_at: datetime | None) -> list[Taken] | None:
    """Take a node for each of the demands, in their order, or leave everything as it is."""
    different = set(wanted)
    if len(different) == 1 or not all(keeper.open.fits(one.demand, one.rows).any() for one in different):
        return None
    return _Search(keeper, wanted, ends_at).found()


class _Search:
    def __init__(self, keeper: Keeper, wanted: Sequence[Eligible], ends_at: datetime | None) -> None:
        self._keeper = keeper
        self._wanted = wanted
        self._ends_at = ends_at
        self._tries = 0
        self._taken: list[Taken] = []

    def found(self) -> list[Taken] | None:
        """Place what is not placed yet, node by node; None where that fails."""
        if len(self._taken) == len(self._wanted):
            return self._taken
        eligible = self._wanted[len(self._taken)]
        for row in _one_of_each(self._keeper.open, eligible):
            self._tries += 1
            if self._tries > MOST_TRIES:
                return None
            taken = Taken(eligible.demand, row, self._keeper.open.pick(eligible.demand, row))
            self._keeper.take(taken, self._ends_at)
            self._taken.append(taken)
            if self.found() is not None:
                return self._taken
            self._taken.pop()
            self._keeper.give_back(taken, self._ends_at)
        return None


def _one_of_each(ledger: Ledger, eligible: Eligible) -> Iterator[int]:
    """Yield the rows on which a demand fits, one of those that are alike: the first by name."""
    seen: set[tuple[object, ...]] = set()
    for row in numbers(eligible.rows[ledger.fits(eligible.demand, eligible.rows)]):
        state = ledger.state_of(row)
        if state not in seen:
            seen.add(state)
            yield row
