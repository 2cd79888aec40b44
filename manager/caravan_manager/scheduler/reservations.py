"""Room that is kept for sessions that do not fit yet, so that those that are started around them do not delay them.

A session that does not fit reserves the nodes on which it can start first, and the moment from which. Others may use
these nodes too: if they end before that moment, or if there is room for them beside the session that waits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np

from caravan_manager.scheduler.arrays import Ints
from caravan_manager.scheduler.finder import Eligible
from caravan_manager.scheduler.ledger import Ledger, Taken

FIRST_ROW = np.array([0])
DEPTH = 4
"""How many sessions of a scaling group have room kept for them; those behind them only wait."""
SHORT = timedelta(minutes=30)
"""By how much a session may be put off of which nobody knows when it starts, because others end who knows when.

Those that end so soon may use what is kept for it. They put it off once at most: when the last one of unknown end is
gone, it is known when the room is free, and nobody passes any more.
"""


@dataclass(slots=True)
class Reservation:
    """What is kept for a session: ``then`` has its nodes, at ``rows``, as they will be beside it.

    ``starts_at`` is None when nobody knows how long the sessions run that must end before.
    """

    session: UUID
    made_at: datetime
    starts_at: datetime | None
    taken: tuple[Taken, ...]
    rows: dict[int, int]
    then: Ledger

    @classmethod
    def of(
        cls, session: UUID, made_at: datetime, starts_at: datetime | None, taken: Sequence[Taken], then: Ledger
    ) -> "Reservation":
        """Return the reservation of what a session takes of the ledger as it will be ``then``, itself included."""
        rows = sorted({part.row for part in taken})
        here = then.part(np.array(rows))
        return cls(session, made_at, starts_at, tuple(taken), {row: place for place, row in enumerate(rows)}, here)

    def binds(self, ends_at: datetime | None) -> bool:
        """Say whether a session that ends then, if anybody knows, must leave the room."""
        return ends_at is None or ends_at > (self.starts_at or self.made_at + SHORT)


class Keeper:
    """The ledger of a pass, and the reservations in it.

    ``now`` is what is left now; ``open`` is what a session may take of which nobody knows when it ends. They are the
    same object as long as nothing is reserved.
    """

    def __init__(self, now: Ledger) -> None:
        self.now = now
        self.open = now
        self.reservations: list[Reservation] = []
        self._used_before: list[int] = []

    def take(self, taken: Taken, ends_at: datetime | None) -> None:
        """Take a part of a session that starts now."""
        self._used_before.append(int(self.now.last_used[taken.row]))
        for ledger in self._ledgers():
            ledger.mark_used(taken.row)
        self._change(taken, ends_at, Ledger.take)

    def give_back(self, taken: Taken, ends_at: datetime | None) -> None:
        """Undo the last :meth:`take`."""
        used = self._used_before.pop()
        for ledger in self._ledgers():
            ledger.last_used[taken.row] = used
        self._change(taken, ends_at, Ledger.give_back)

    def reserve(self, reservation: Reservation) -> None:
        """Keep room from now on."""
        if not self.reservations:
            self.open = self.now.copy()
        self.reservations.append(reservation)
        self._reopen(reservation.rows)

    def row_until(self, row: int, ends_at: datetime | None) -> Ledger:
        """Return what a session that ends then may take of one node, as a ledger of one row."""
        here = self.now.part(np.array([row]))
        for reservation in self.reservations:
            if row in reservation.rows and reservation.binds(ends_at):
                here.lower(0, reservation.then, reservation.rows[row])
        return here

    def beside(self, eligible: Eligible, ends_at: datetime | None) -> Iterator[Taken]:
        """Yield what a session that ends in time may take of the rows that are kept for others."""
        if ends_at is None:
            return
        for row in self._kept_rows():
            until = self.row_until(row, ends_at)
            if eligible.places[row] >= 0 and until.fits(eligible.demand, FIRST_ROW).all():
                yield until.pick(eligible.demand, 0)._replace(row=row)

    def binding(self, ends_at: datetime | None) -> tuple[int, ...]:
        """Return which reservations bind a session that ends then."""
        return tuple(number for number, kept in enumerate(self.reservations) if kept.binds(ends_at))

    def _kept_rows(self) -> list[int]:
        return sorted({row for reservation in self.reservations for row in reservation.rows})

    def kept_for(self, rows: Set[int]) -> list[UUID]:
        """Return the sessions for which something of the rows is kept, the first one first."""
        return [kept.session for kept in self.reservations if not rows.isdisjoint(kept.rows)]

    def _ledgers(self) -> tuple[Ledger, ...]:
        return (self.now,) if self.open is self.now else (self.now, self.open)

    def _change(self, taken: Taken, ends_at: datetime | None, change: Callable[[Ledger, int, Ints], None]) -> None:
        change(self.now, taken.row, taken.amounts)
        for reservation in self.reservations:
            row = reservation.rows.get(taken.row)
            if row is not None and reservation.binds(ends_at):
                change(reservation.then, row, taken.amounts)
        if self.reservations:
            self._reopen([taken.row])

    def _reopen(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.open.assign(row, self.row_until(row, None), 0)
