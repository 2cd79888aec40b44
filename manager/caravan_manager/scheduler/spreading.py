"""How many sessions of each endpoint the nodes have: the next one goes where there are fewest, if there is room. Pure.

A session counts once on each of its nodes, however many of its kernels are there, until nothing of it is left.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

import numpy as np

from caravan_manager.scheduler.arrays import Ints, Mask
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.sessions.queue import PlacedSession


class Replicas:
    """The numbers by endpoint and by row of a ledger."""

    def __init__(self, ledger: Ledger, held: Iterable[PlacedSession]) -> None:
        self._ledger = ledger
        self._counts: dict[UUID, Ints] = {}
        for session in held:
            if session.endpoint is not None:
                self.add(session.endpoint, (kernel.node for kernel in session.kernels))

    def add(self, endpoint: UUID, nodes: Iterable[str]) -> None:
        """Count a session that has kernels on some nodes."""
        if endpoint not in self._counts:
            self._counts[endpoint] = np.zeros(len(self._ledger.names), np.int64)
        rows = {row for node in nodes if (row := self._ledger.row(node)) is not None}
        self._counts[endpoint][list(rows)] += 1

    def tiers(self, endpoint: UUID, rows: Ints) -> Iterator[Mask | None]:
        """Yield which rows of the ledger have the fewest sessions that any of ``rows`` has, then the next fewest.

        None is all of them: none has any.
        """
        counts = self._counts.get(endpoint)
        if counts is None:
            yield None
            return
        for number in np.unique(counts[rows]):
            yield counts == number
