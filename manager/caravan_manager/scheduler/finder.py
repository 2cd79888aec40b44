"""Finds the node for a demand, and remembers the scores of nodes that did not change since.

Sessions come in few shapes. For each shape the scores of all nodes are kept, and those of the nodes that were given
something since it was last asked for are made anew: a decision costs as much as what changed, not as the cluster.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ledger, numbers
from caravan_manager.scheduler.selectors.selector import Selector

REMEMBERED_SHAPES = 256
NOWHERE = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Eligible:
    """A demand and the rows, in order, that would do for it if they were empty; one object for each shape."""

    demand: Demand
    rows: Ints
    places: dict[int, int] = field(init=False)
    """The place of each row among ``rows``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {row: place for place, row in enumerate(numbers(self.rows))})


@dataclass(slots=True)
class _Known:
    """The scores of a shape's rows; ``read`` is how many of the ledger's changes are in them."""

    scores: Floats
    read: int


class Finder:
    """Finds nodes in one ledger with one selector."""

    def __init__(self, left: Ledger, selector: Selector) -> None:
        self._left = left
        self._selector = selector
        self._known: OrderedDict[Eligible, _Known] = OrderedDict()

    def find(self, eligible: Eligible) -> int | None:
        """Return the best row, or None when the demand fits nowhere now."""
        from caravan_manager.scheduler.kernels import lowest  # noqa: PLC0415 - see there

        rows = lowest(self._up_to_date(eligible), eligible.rows)
        if len(rows) < 2:
            return int(rows[0]) if len(rows) else None
        return self._of_equals(eligible.demand, rows)

    def _of_equals(self, demand: Demand, rows: Ints) -> int:
        """Return the first of the rows that no other one is better than, column by column."""
        ties = self._selector.ties(demand, rows)
        if ties.ndim == 1:
            return int(rows[ties.argmin()])
        left = np.arange(len(rows))
        for column in ties.T:
            if len(left) == 1:
                break
            values = column[left]
            left = left[values == values.min()]
        return int(rows[left[0]])

    def _up_to_date(self, eligible: Eligible) -> Floats:
        changes = self._left.changes
        known = self._known.get(eligible)
        if known is None:
            read = len(changes)
            known = self._known[eligible] = _Known(self._scores(eligible.demand, eligible.rows), read)
            if len(self._known) > REMEMBERED_SHAPES:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(eligible)
        while known.read < len(changes):  # a selector that hands over while it is asked says that all rows changed
            read = len(changes)
            self._refresh(known, eligible, changes[known.read :])
            known.read = read
        return known.scores

    def _refresh(self, known: _Known, eligible: Eligible, changed: list[int]) -> None:
        if len(changed) > len(eligible.rows):
            known.scores = self._scores(eligible.demand, eligible.rows)
            return
        rows = [row for row in set(changed) if row in eligible.places]
        if rows:
            places = [eligible.places[row] for row in rows]
            known.scores[places] = self._scores(eligible.demand, np.array(rows))

    def _scores(self, demand: Demand, rows: Ints) -> Floats:
        fits, beside = self._left.look(demand, rows)
        fitting = np.count_nonzero(fits)
        if fitting == len(rows):
            return self._selector.scores(demand, rows, beside)
        scores = np.full(len(rows), NOWHERE)
        if fitting:
            scores[fits] = self._selector.scores(demand, rows.compress(fits), beside.compress(fits, axis=0))
        return scores
