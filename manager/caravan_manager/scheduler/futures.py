"""When there will be room: the nodes as they are once the sessions that hold them have ended, one after the other.

Those of which it is known when they end do so in that order. Of the others nobody knows: first the oldest one of each
node ends, then the second of each, so that a session waits for as few as possible. What begins on a node after it is
kept is behind those in its way: their number only becomes smaller, whichever nodes are kept at the time.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import numpy as np

from caravan_manager.scheduler.arrays import Ints
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.sessions.queue import PlacedSession

Found = TypeVar("Found")
End = tuple[datetime | None, PlacedSession]
"""A session, and when it has ended at the latest; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Future(Generic[Found]):
    """What was found when ``ended`` sessions have ended, and the ledger then; ``at`` is None when nobody knows when."""

    found: Found
    at: datetime | None
    ended: int
    ledger: Ledger


def expected_ends(placed: Sequence[PlacedSession], now: datetime) -> list[End]:
    """Return sessions in the order in which they are taken to end."""
    known = [(max(at, now), s) for s in placed if (at := s.ends_at or (now if s.is_ending else None)) is not None]
    known.sort(key=lambda end: (end[0], end[1].placed_at, end[1].id))
    unknown = [session for session in placed if not session.is_ending and session.ends_at is None]
    return [*known, *((None, session) for session in _one_of_each_node(unknown))]


def _one_of_each_node(sessions: Sequence[PlacedSession]) -> list[PlacedSession]:
    """Return sessions by how many older ones there are on their node; of several nodes the one with the fewest."""
    oldest_first = sorted(sessions, key=lambda session: (session.placed_at, session.id))
    on: Counter[str] = Counter()
    older: list[int] = []
    for session in oldest_first:
        nodes = {kernel.node for kernel in session.kernels}
        older.append(min((on[node] for node in nodes), default=0))
        on.update(nodes)
    return [oldest_first[place] for place in sorted(range(len(older)), key=lambda place: (older[place], place))]


class Futures:
    """The ends to come, in their order, on the nodes of one ledger."""

    def __init__(self, ledger: Ledger, ends: Sequence[End]) -> None:
        self._moments = [moment for moment, _ in ends]
        returns = [
            (number, *held)
            for number, (_, session) in enumerate(ends)
            for kernel in session.kernels
            if (row := ledger.row(kernel.node)) is not None
            for held in ledger.held_by(row, kernel)
        ]
        self._returns: Ints = np.array(returns, np.int64).reshape(-1, 4)
        """What comes back, in its order: the number of the end, the row, the column, the amount."""

    def first(self, base: Ledger, seek: Callable[[Ledger], Found | None]) -> Future[Found] | None:
        """Return the first moment at which ``seek`` finds something, or None when it never does.

        ``base`` is what is left now. More that has ended never makes less fit, so half of the ends are left out at a
        time: about ten looks for a thousand sessions.
        """
        best = self._look(base, len(self._moments), seek)
        if best is None:
            return None
        low, high = 0, len(self._moments)
        while low < high:
            middle = (low + high) // 2
            if (earlier := self._look(base, middle, seek)) is not None:
                best, high = earlier, middle
            else:
                low = middle + 1
        return best

    def last(self, base: Ledger) -> Ledger:
        """Return the ledger when all have ended."""
        return self._after(base, len(self._moments))

    def _look(self, base: Ledger, ended: int, seek: Callable[[Ledger], Found | None]) -> Future[Found] | None:
        ledger = self._after(base, ended)
        found = seek(ledger)
        if found is None:
            return None
        return Future(found, self._moments[ended - 1] if ended else None, ended, ledger)

    def _after(self, base: Ledger, ended: int) -> Ledger:
        ledger = base.copy()
        upto = np.searchsorted(self._returns[:, 0], ended)
        _, rows, columns, amounts = self._returns[:upto].T
        np.add.at(ledger.table, (rows, columns), amounts)
        return ledger
