"""When there will be room: the nodes as they are once the sessions that hold them have ended, one after the other.

Those of which it is known when they end do so in that order. Of the others nobody knows; they are taken to end in the
order in which they were placed, so that a session that begins later never puts an estimate off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import numpy as np

from caravan_manager.scheduler.ledger import Ints, Ledger
from caravan_manager.sessions.queue import PlacedSession

Found = TypeVar("Found")
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Future(Generic[Found]):
    """What was found, when it can be, and the ledger as it is then; ``at`` is None when nobody knows."""

    found: Found
    at: datetime | None
    ledger: Ledger


class Futures:
    """The ends to come, on the nodes of one ledger."""

    def __init__(self, ledger: Ledger, placed: Sequence[PlacedSession], now: datetime) -> None:
        ends = [(now if session.is_ending else max(session.ends_at or _NEVER, now), session) for session in placed]
        ordered = sorted(ends, key=lambda end: (end[0], end[1].placed_at, end[1].id))
        self._moments = [moment for moment, _ in ordered]
        self._counts = _Returns()
        self._devices: dict[str, _Returns] = {slot: _Returns() for slot in ledger.devices}
        for number, (_, session) in enumerate(ordered):
            self._add(ledger, number, session)

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

    def after_all(self, base: Ledger, seek: Callable[[Ledger], Found | None]) -> Future[Found] | None:
        """Return what ``seek`` finds when all have ended."""
        return self._look(base, len(self._moments), seek)

    def _look(self, base: Ledger, ended: int, seek: Callable[[Ledger], Found | None]) -> Future[Found] | None:
        ledger = base.copy()
        rows, columns, amounts = self._counts.until(ended)
        np.add.at(ledger.counts, (rows, columns), amounts)
        for slot, returns in self._devices.items():
            rows, places, amounts = returns.until(ended)
            np.add.at(ledger.devices[slot].free, (rows, places), amounts)
        found = seek(ledger)
        if found is None:
            return None
        at = self._moments[ended - 1] if ended else None
        return Future(found, None if at == _NEVER else at, ledger)

    def _add(self, ledger: Ledger, number: int, session: PlacedSession) -> None:
        for kernel in session.kernels:
            if (row := ledger.row(kernel.node)) is not None:
                for _, column, amount in ledger.counts_of(row, kernel):
                    self._counts.add(number, row, column, amount)
                for slot, place, amount in ledger.devices_of(row, kernel):
                    self._devices[slot].add(number, row, place, amount)


class _Returns:
    """What comes back: the number of the end, the row, the column or the place of the device, the amount."""

    def __init__(self) -> None:
        self._list: list[tuple[int, int, int, int]] = []
        self._array: Ints | None = None

    def add(self, number: int, row: int, place: int, amount: int) -> None:
        self._list.append((number, row, place, amount))

    def until(self, ended: int) -> tuple[Ints, Ints, Ints]:
        if self._array is None:
            self._array = np.array(self._list, np.int64).reshape(-1, 4)
        upto = np.searchsorted(self._array[:, 0], ended)
        part = self._array[:upto]
        return part[:, 1], part[:, 2], part[:, 3]
