"""The first node by name, where any will do: what a reservation needs to know is only when there is room."""

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.selector import Beside


class FirstFit:
    """No node is better than another."""

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the same for each."""
        return np.zeros(len(rows))

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return the same for each."""
        return np.zeros(len(rows))
