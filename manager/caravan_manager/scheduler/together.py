"""Finds nodes for kernels of different sizes that start together, where taking the best node for each did not. Pure.

The best node for one kernel may be the only one for another. A search over the nodes: of equal nodes one is tried. It
is bounded, for one gang and for a pass: of many or large gangs some may not be found a place although there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from caravan_manager.scheduler.finder import Eligible
from caravan_manager.scheduler.ledger import Taken, numbers
from caravan_manager.scheduler.reservations import Keeper

MOST_TRIES = 64
"""For one gang."""
MOST_IN_A_PASS = 4096


@dataclass(slots=True)
class Tries:
    """How often a node may still be tried."""

    left: int = MOST_IN_A_PASS


def take_together(
    keeper: Keeper, wanted: Sequence[Eligible], ends_at: datetime | None, tries: Tries
) -> list[Taken] | None:
    """Take a node for each of the demands, in their order, or leave everything as it is."""
    if len(set(wanted)) == 1 or not tries.left:
        return None
    search = _Search(keeper, wanted, ends_at, min(MOST_TRIES, tries.left))
    found = search.found()
    tries.left -= search.tried
    return found


class _Search:
    def __init__(self, keeper: Keeper, wanted: Sequence[Eligible], ends_at: datetime | None, most: int) -> None:
        self.tried = 0
        self._keeper = keeper
        self._wanted = wanted
        self._ends_at = ends_at
        self._most = most
        self._taken: list[Taken] = []

    def found(self) -> list[Taken] | None:
        """Place what is not placed yet, node by node; None where that fails."""
        if len(self._taken) == len(self._wanted):
            return self._taken
        eligible = self._wanted[len(self._taken)]
        for taken in [*self._open(eligible), *self._keeper.beside(eligible, self._ends_at)]:
            if self.tried == self._most:
                return None
            self.tried += 1
            self._keeper.take(taken, self._ends_at)
            self._taken.append(taken)
            if self.found() is not None:
                return self._taken
            self._taken.pop()
            self._keeper.give_back(taken, self._ends_at)
        return None

    def _open(self, eligible: Eligible) -> Iterator[Taken]:
        """Yield the rows that may be had whenever a session ends, one of those that are alike: the first by name."""
        ledger, seen = self._keeper.open, set[tuple[object, ...]]()
        for row in numbers(eligible.rows[ledger.fits(eligible.demand, eligible.rows)]):
            if (state := ledger.state_of(row)) not in seen:
                seen.add(state)
                yield ledger.pick(eligible.demand, row)
