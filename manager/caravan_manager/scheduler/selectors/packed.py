"""`packed`: the node whose accelerators lose least of their use for the sessions that come here. The default.

Each node has a worth: for each of the most frequent demands, how much of its free accelerators lies in pieces which
that demand can use, if the node can take it at all. What can be used counts EVEN times, and once more so far as the
node's cpu and memory can feed it, so that cpu and memory which would be missed later have their price. A session goes
where the worth falls least; of equal nodes to the tightest one, and only then by name.

Close to fragmentation gradient descent (Weng and others, USENIX ATC 2023), which counts a piece as usable or not and
does not look at memory. All numbers of the worth are whole, so that a decision is the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caravan_manager.scheduler.demand import WHOLE, Demand, DeviceDemand
from caravan_manager.scheduler.ledger import Ints, Mask
from caravan_manager.scheduler.selectors.selector import Beside, Floats, Room

DEMANDS = 64
"""How many of the most frequent demands a worth looks at."""
EVEN = 4
"""How much more a free piece counts than that cpu and memory can feed it; from 2 to 10 the figures are the same."""
CHUNK = 512
"""Rows that are worked on at a time, so that the arrays stay in the processor's cache."""
FEEDS = ("cpu", "mem")
"""What a node feeds its accelerators with."""
_WEIGHTS = 10_000


class Packed:
    """The least loss of worth, then the least that is left."""

    def __init__(self, room: Room) -> None:
        self._left = room.left
        fed_by = [slot for slot in FEEDS if slot in room.left.slots]
        self._fed = _columns([room.left.slots[slot] for slot in fed_by])
        self._worths = {slot: _Worth.of(slot, room, fed_by) for slot in sorted(room.left.devices)}
        self._now = np.zeros(len(room.left.names))
        self._outdated = np.ones(len(room.left.names), np.bool_)
        self._read = len(room.left.changes)
        everywhere = np.arange(len(room.capacity.names))
        slots = sorted({*room.capacity.slots, *room.capacity.devices})
        self._largest = {slot: max(1, int(room.capacity.left(slot, everywhere).max(initial=0))) for slot in slots}

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the loss of worth."""
        if not self._worths:
            return np.zeros(len(rows))
        changes = self._left.changes
        if self._read < len(changes):
            self._outdated[changes[self._read :]] = True
            self._read = len(changes)
        stale = rows.compress(self._outdated.take(rows))
        if not len(stale):
            return self._now.take(rows) - self._worth_of(beside, rows)
        # What the stale rows are worth now and what the rows would be worth then: one look at both.
        both = np.concatenate((self._left.table.take(stale, axis=0), beside))
        worth = self._worth_of(both, np.concatenate((stale, rows)))
        self._now[stale] = worth[: len(stale)]
        self._outdated[stale] = False
        loss: Floats = self._now.take(rows) - worth[len(stale) :]
        return loss

    def _worth_of(self, table: Ints, rows: Ints) -> Floats:
        """Return what nodes are worth that have so much left."""
        counts = table[:, self._fed]
        parts = [
            of_slot.of_rows(counts, table[:, self._left.columns[slot]], self._left.devices[slot].model, rows)
            for slot, of_slot in self._worths.items()
        ]
        return parts[0] if len(parts) == 1 else np.add.reduce(parts)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what is left of the nodes: the sum of its parts of the largest node."""
        spare = np.zeros(len(rows))
        for slot, largest in self._largest.items():
            spare += self._left.left(slot, rows) / largest
        return spare


@dataclass(frozen=True, slots=True)
class _Worth:
    """What the devices of one slot are worth to the demands for it; arrays with a row for each demand.

    ``feed`` is what it wants of cpu and of memory, ``amount`` what it wants of devices. ``piece`` says
    which of the ``sizes`` and of the ``models`` (numbers, or None for any) each of its devices must have.
    """

    weight: Floats
    feed: list[Floats]
    amount: Floats
    piece: Ints
    sizes: Floats
    models: tuple[tuple[int, Ints], ...]

    @classmethod
    def of(cls, slot: str, room: Room, fed_by: Sequence[str]) -> "_Worth":
        wanted = [(demand, count, device) for demand, count in room.typical for device in demand.devices]
        wanted = sorted((w for w in wanted if w[2].slot == slot), key=lambda w: (-w[1], _rank(w[0])))[:DEMANDS]
        total = sum(count for _, count, _ in wanted)
        keys = [(_size(device), demand.models) for demand, _, device in wanted]
        pieces = sorted(set(keys), key=lambda key: (key[0], sorted(key[1])))
        models = [room.left.numbers_of(models) for _, models in pieces]
        return cls(
            weight=np.array([max(1, count * _WEIGHTS // total) for _, count, _ in wanted], np.float64),
            feed=[_column([max(1, dict(demand.counts).get(slot, 0)) for demand, _, _ in wanted]) for slot in fed_by],
            amount=_column([device.amount for _, _, device in wanted]),
            piece=np.array([pieces.index(key) for key in keys], np.int64),
            sizes=np.array([size for size, _ in pieces], np.float64).reshape(-1, 1, 1),
            models=tuple((piece, number) for piece, number in enumerate(models) if number is not None),
        )

    def of_rows(self, counts: Ints, free: Ints, model: Ints, rows: Ints) -> Floats:
        """Return what nodes are worth that have so much left: cpu and memory [rows, 2], devices [rows, places].

        ``model`` has the models of the devices of all nodes, ``rows`` says which of them these are.
        """
        if not len(self.weight):
            return np.zeros(len(rows))
        if len(rows) <= CHUNK:
            return self._of_chunk(counts, free, model, rows)
        parts = [slice(i, i + CHUNK) for i in range(0, len(rows), CHUNK)]
        return np.concatenate([self._of_chunk(counts[i], free[i], model, rows[i]) for i in parts])

    def _of_chunk(self, counts: Ints, free: Ints, model: Ints, rows: Ints) -> Floats:
        left = free.T.astype(np.float64, order="C")
        large: Mask = left >= self.sizes  # no device at all is smaller than any size
        for piece, models in self.models:
            large[piece] &= np.isin(model[rows].T, models)
        usable: Floats = np.add.reduce(left * large, axis=1).take(self.piece, axis=0)
        fed = usable / self.amount
        for has, wanted in zip(counts.T, self.feed, strict=True):
            np.minimum(fed, has / wanted, out=fed)
        fits = fed >= 1
        fed *= self.amount
        np.floor(fed, out=fed)
        usable *= EVEN
        fed += usable
        fed *= fits
        worth: Floats = self.weight @ fed
        return worth


def _rank(demand: Demand) -> tuple[object, ...]:
    """Return what puts demands in an order that is the same in every process: a set's own is not."""
    return demand.counts, [(d.slot, d.whole, d.parts) for d in demand.devices], sorted(demand.models)


def _size(device: DeviceDemand) -> int:
    return WHOLE if device.whole else max(device.parts)


def _columns(numbers: list[int]) -> slice | list[int]:
    """Return columns as a slice where they are neighbours: that takes no copy."""
    first = min(numbers, default=0)
    return slice(first, first + len(numbers)) if numbers == list(range(first, first + len(numbers))) else numbers


def _column(values: list[int]) -> Floats:
    return np.array(values, np.float64)[:, None]
