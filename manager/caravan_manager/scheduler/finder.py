"""Finds the node for a demand, and remembers the scores of nodes that did not change since.

Sessions come in few shapes. For each shape the scores of all nodes are kept, and those of the nodes that were given
something since it was last asked for are made anew: a decision costs as much as what changed, not as the cluster.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ints, Ledger
from caravan_manager.scheduler.selectors.selector import Scores, Selector

REMEMBERED_SHAPES = 256
NOWHERE = np.inf


@dataclass(frozen=True, slots=True)
class Eligible:
    """The rows on which a demand could be placed if they were empty; the same object for the same wishes."""

    rows: Ints


@dataclass(slots=True)
class _Known:
    """The scores of a shape's rows, [rows, columns]; ``read`` is how many of the ledger's changes are in them."""

    scores: Scores
    read: int


class Finder:
    """Finds nodes in one ledger with one selector."""

    def __init__(self, left: Ledger, selector: Selector) -> None:
        self._left = left
        self._selector = selector
        self._known: OrderedDict[tuple[Demand, int], _Known] = OrderedDict()

    def find(self, demand: Demand, eligible: Eligible) -> int | None:
        """Return the best row, or None when the demand fits nowhere now."""
        rows = eligible.rows
        if not len(rows):
            return None
        candidates = self._candidates(self._up_to_date(demand, eligible).scores)
        return None if candidates is None else int(rows[candidates[0]])

    def _candidates(self, scores: Scores) -> Ints | None:
        """Return the places of the best scores, all columns compared; None when there is none."""
        first = scores[:, 0]
        best = first[first.argmin()]
        if best == NOWHERE:
            return None
        places: Ints = np.flatnonzero(first == best)
        for column in range(1, scores.shape[1]):
            if len(places) == 1:
                break
            values = scores[places, column]
            places = places[values == values.min()]
        return places

    def _up_to_date(self, demand: Demand, eligible: Eligible) -> _Known:
        changes = self._left.changes
        key = (demand, id(eligible))
        known = self._known.get(key)
        if known is None:
            known = _Known(self._scores(demand, eligible.rows), len(changes))
            self._known[key] = known
            if len(self._known) > REMEMBERED_SHAPES:
                self._known.popitem(last=False)
            return known
        self._known.move_to_end(key)
        if known.read < len(changes):
            self._refresh(known, demand, eligible.rows, changes[known.read :])
            known.read = len(changes)
        return known

    def _refresh(self, known: _Known, demand: Demand, rows: Ints, changed: list[int]) -> None:
        if len(changed) > len(rows):
            known.scores = self._scores(demand, rows)
            return
        which = np.array(sorted(set(changed)), np.int64)
        places = np.searchsorted(rows, which)  # rows are in order
        here = places < len(rows)
        places, which = places[here], which[here]
        places = places[rows[places] == which]
        if len(places):
            known.scores[places] = self._scores(demand, rows[places], known.scores.shape[1])

    def _scores(self, demand: Demand, rows: Ints, columns: int | None = None) -> Scores:
        fits = self._left.fits(demand, rows)
        if not fits.any():
            return np.full((len(rows), columns or 1), NOWHERE)
        given = self._selector.scores(demand, rows[fits])
        given = given.reshape(len(given), -1)
        scores = np.full((len(rows), given.shape[1]), NOWHERE)
        scores[fits] = given
        return scores
