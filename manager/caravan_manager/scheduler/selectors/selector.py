"""What every selector is: a rule that gives each node a score for a demand; the lowest one is taken. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.ledger import Ledger

Beside = Ints
"""What some rows would have left beside a demand: [rows, columns], in the columns of the ledger's ``table``."""


@dataclass(frozen=True, slots=True)
class Room:
    """The nodes of one scaling group: what they have left now, and what they have when nobody uses them.

    ``typical`` are demands as they come here, and how many of those that wait and of those that hold nodes want each.
    ``options`` are what an operator set for the selector: the scaling group's ``agent_selector_config``, an object in
    JSON; empty where there is none. What cannot be read of them is best left out: a selector that raises is not asked.
    """

    left: Ledger
    capacity: Ledger
    typical: tuple[tuple[Demand, int], ...] = ()
    options: Mapping[str, object] = field(default_factory=dict[str, object])


class Selector(Protocol):
    """A rule in one room; it is made anew for each pass, and may remember what it worked out.

    It must be a function of its arguments alone, or a plan could not be replayed.
    """

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return a score for each of ``rows``, on all of which the demand fits: the lowest wins.

        Scores are kept and asked for again only for rows that changed (``room.left.changes``), so one row's must not
        depend on another's.
        """
        ...

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what tells ``rows`` of equal score apart, [rows] or [rows, columns]: the lowest in the first column.

        Of those the lowest in the next one wins, at last the first by name.
        """
        ...


@runtime_checkable
class Searching(Selector, Protocol):
    """A selector that searches itself: one call in place of four, a thousand times a pass."""

    def best(self, demand: Demand, rows: Ints, changed: Ints, places: Ints, scores: Floats) -> int:
        """Return which of ``rows`` the demand is to have, as scores and ties would say; -1 where it fits nowhere.

        ``scores`` are those of the rows when it was last asked for this demand. They are out of date for the rows in
        ``changed``, which may be named often, and are to be written anew: infinity where the demand does not fit.
        ``places`` says of each row of the ledger where its score is, -1 for one that is not among ``rows``.
        """
        ...


MakeSelector = Callable[[Room], Selector]
"""What a plugin is: a class whose objects are made with the room."""


def as_columns(*columns: NDArray[np.generic]) -> Floats:
    """Return arrays as columns."""
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
