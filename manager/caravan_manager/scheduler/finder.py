"""Finds the node for a demand, and remembers the scores of nodes that did not change since.

Sessions come in few shapes. For each shape the scores of all nodes are kept, and those of the nodes that were given
something since it was last asked for are made anew: a decision costs as much as what changed, not as the cluster.
"""

from collections import OrderedDict
from dataclasses import InitVar, dataclass, field

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints, Mask
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.scheduler.selectors.selector import Searching, Selector

REMEMBERED_SHAPES = 256
NOWHERE = np.inf
NEVER = -1
NOTHING: Ints = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Eligible:
    """A demand and the rows, in order, that would do for it if they were empty; one object for each shape."""

    demand: Demand
    rows: Ints
    nodes: InitVar[int]
    """How many rows the ledger has."""
    places: Ints = field(init=False)
    """The place among ``rows`` of each row of the ledger, -1 for none."""

    def __post_init__(self, nodes: int) -> None:
        places = np.full(nodes, -1)
        places[self.rows] = np.arange(len(self.rows))
        object.__setattr__(self, "places", places)


@dataclass(slots=True)
class _Known:
    """The scores of a shape's rows; ``read`` is how many of the ledger's changes are in them, NEVER at first."""

    scores: Floats
    read: int


class Finder:
    """Finds nodes in one ledger with one selector."""

    def __init__(self, left: Ledger, selector: Selector) -> None:
        self._left = left
        self._selector = selector
        self._searching = selector if isinstance(selector, Searching) else None
        self._known: OrderedDict[Eligible, _Known] = OrderedDict()

    def find(self, eligible: Eligible, among: Mask | None = None) -> int | None:
        """Return the best row, or None when the demand fits nowhere now.

        With ``among`` only the rows of the ledger for which it is true count. The scores of all are remembered.
        """
        known = self._remembered(eligible)
        if self._searching is not None:
            changed = self._changed(known, eligible)
            row = self._search(self._searching, eligible, changed, known.scores)
            if row is None or among is None or among[row]:
                return row
            return self._search(self._searching, eligible, NOTHING, _only(among, eligible, known.scores))
        while known.read < len(self._left.changes):  # a selector that hands over says that all rows changed
            self._rescore(known, eligible, self._changed(known, eligible))
        scores = known.scores if among is None else _only(among, eligible, known.scores)
        lowest = scores.min(initial=NOWHERE)
        if lowest == NOWHERE:
            return None
        return self._of_equals(eligible.demand, eligible.rows[scores == lowest])

    def _search(self, selector: Searching, eligible: Eligible, changed: Ints, scores: Floats) -> int | None:
        row = selector.best(eligible.demand, eligible.rows, changed, eligible.places, scores)
        return None if row < 0 else row

    def _remembered(self, eligible: Eligible) -> _Known:
        known = self._known.get(eligible)
        if known is not None:
            self._known.move_to_end(eligible)
            return known
        known = self._known[eligible] = _Known(np.full(len(eligible.rows), NOWHERE), NEVER)
        if len(self._known) > REMEMBERED_SHAPES:
            self._known.popitem(last=False)
        return known

    def _changed(self, known: _Known, eligible: Eligible) -> Ints:
        """Return the rows of which the scores are out of date, some of them perhaps often, and take them for known."""
        changes, read = self._left.changes, known.read
        known.read = len(changes)
        if read == NEVER or known.read - read > len(eligible.rows):
            return eligible.rows
        return np.array(changes[read:], np.int64)

    def _of_equals(self, demand: Demand, rows: Ints) -> int:
        """Return the first of the rows that no other one is better than, column by column."""
        if len(rows) == 1:
            return int(rows[0])
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

    def _rescore(self, known: _Known, eligible: Eligible, changed: Ints) -> None:
        rows = np.unique(changed)
        rows = rows[eligible.places[rows] >= 0]
        scores = np.full(len(rows), NOWHERE)
        fits, beside = self._left.look(eligible.demand, rows)
        if fits.any():
            scores[fits] = self._selector.scores(eligible.demand, rows.compress(fits), beside.compress(fits, axis=0))
        known.scores[eligible.places[rows]] = scores


def _only(among: Mask, eligible: Eligible, scores: Floats) -> Floats:
    """Return the scores as if the demand fitted nowhere else."""
    return np.where(among[eligible.rows], scores, NOWHERE)
