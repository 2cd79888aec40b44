"""`packed`: the node whose accelerators lose least of their use for the sessions that come here. The default.

Each node has a worth: for each of the most frequent demands, how much of its free accelerators lies in pieces which
that demand can use, if the node can take it at all. What can be used counts EVEN times, and once more so far as the
node's cpu and memory can feed it, so that cpu and memory which would be missed later have their price. A session goes
where the worth falls least; of equal nodes to the tightest one, and only then by name.

Close to fragmentation gradient descent (Weng and others, USENIX ATC 2023), which counts a piece as usable or not and
does not look at memory. All numbers of the worth are whole, so that a decision is the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

from caravan_manager.scheduler.demand import WHOLE, Demand, DeviceDemand
from caravan_manager.scheduler.ledger import Ints, Mask
from caravan_manager.scheduler.selectors.selector import Floats, Room, Scores, as_columns

DEMANDS = 64
"""How many of the most frequent demands a worth looks at."""
EVEN = 4
"""How much more a free piece counts than that cpu and memory can feed it; from 2 to 10 the figures are the same."""
CHUNK = 512
"""Rows that are worked on at a time, so that the arrays stay in the processor's cache."""
_WEIGHTS = 10_000
_THOUSANDTH = WHOLE // 1000


class Packed:
    """The least loss of worth, then the least that is left."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._worths = {slot: _Worth.of(slot, room) for slot in sorted(room.left.devices)}
        self._now = np.zeros(len(room.left.names))
        self._outdated = set(range(len(room.left.names))) if self._worths else set[int]()
        self._read = 0
        largest = {slot: room.capacity.left(slot, _all(room)).max(initial=0) for slot in _slots(room)}
        self._largest = {slot: max(int(amount), 1) for slot, amount in largest.items()}

    def scores(self, demand: Demand, rows: Ints) -> Scores:
        """Return the loss of worth, and what is left of the node: the sum of its parts of the largest node."""
        return as_columns(self._worth_now(rows) - self._worth_then(demand, rows), self._spare(rows))

    def _worth_now(self, rows: Ints) -> Floats:
        changes = self._room.left.changes
        if self._worths and self._read < len(changes):
            self._outdated.update(changes[self._read :])
            self._read = len(changes)
        if self._outdated and (stale := self._outdated.intersection(rows.tolist())):
            which = np.array(sorted(stale), np.int64)
            self._now[which] = self._worth_then(_NOTHING, which)
            self._outdated -= stale
        return self._now[rows]

    def _worth_then(self, demand: Demand, rows: Ints) -> Floats:
        """Return what the rows are worth beside a demand."""
        left = self._room.left
        taken = dict(demand.counts)
        cpu, memory = (left.left(slot, rows) - taken.get(slot, 0) for slot in ("cpu", "mem"))
        devices = left.beside(demand, rows)
        total = np.zeros(len(rows))
        for slot, worth in self._worths.items():
            free = devices[slot] if slot in devices else left.devices[slot].free[rows]
            total += worth.of_rows(cpu, memory, free, left.devices[slot].model[rows])
        return total

    def _spare(self, rows: Ints) -> Floats:
        spare = np.zeros(len(rows))
        for slot, largest in self._largest.items():
            spare += self._room.left.left(slot, rows) / largest
        return spare


_NOTHING = Demand(())


def _slots(room: Room) -> list[str]:
    return sorted({*room.capacity.counts, *room.capacity.devices})


def _all(room: Room) -> Ints:
    return np.arange(len(room.capacity.names))


@dataclass(frozen=True, slots=True)
class _Worth:
    """What the devices of one slot are worth to the demands for it; arrays with an entry for each demand.

    ``amount`` is what it wants of devices, in thousandths; ``piece`` is which of the ``pieces`` (a size, and the
    numbers of models) each of its devices must have.
    """

    weight: Floats
    cpu: Floats
    memory: Floats
    amount: Floats
    piece: Ints
    pieces: tuple[tuple[int, Ints | None], ...]

    @classmethod
    def of(cls, slot: str, room: Room) -> "_Worth":
        wanted = [(demand, count, device) for demand, count in room.typical for device in demand.devices]
        wanted = sorted((w for w in wanted if w[2].slot == slot), key=lambda w: (-w[1], repr(w[0])))[:DEMANDS]
        total = sum(count for _, count, _ in wanted)
        keys = [(_size(device), demand.models) for demand, _, device in wanted]
        pieces = sorted(set(keys), key=lambda key: (key[0], sorted(key[1])))
        return cls(
            weight=_floats([max(1, count * _WEIGHTS // total) for _, count, _ in wanted]),
            cpu=_floats([max(1, dict(demand.counts).get("cpu", 0)) for demand, _, _ in wanted]),
            memory=_floats([max(1, dict(demand.counts).get("mem", 0)) for demand, _, _ in wanted]),
            amount=_floats([device.amount // _THOUSANDTH for _, _, device in wanted]),
            piece=np.array([pieces.index(key) for key in keys], np.int64),
            pieces=tuple((size, room.left.numbers_of(models)) for size, models in pieces),
        )

    def of_rows(self, cpu: Ints, memory: Ints, free: Ints, model: Ints) -> Floats:
        """Return what nodes are worth that have so much left: cpu and memory [rows], devices [rows, places]."""
        if not len(self.weight):
            return np.zeros(len(cpu))
        if len(cpu) <= CHUNK:
            return self._of_chunk(cpu, memory, free, model)
        parts = [slice(i, i + CHUNK) for i in range(0, len(cpu), CHUNK)]
        return np.concatenate([self._of_chunk(cpu[i], memory[i], free[i], model[i]) for i in parts])

    def _of_chunk(self, cpu: Ints, memory: Ints, free: Ints, model: Ints) -> Floats:
        left = np.maximum(free, 0).T // _THOUSANDTH
        usable_pieces = np.empty((len(self.pieces), len(cpu)))
        for i, (size, models) in enumerate(self.pieces):
            large: Mask = left >= size
            if models is not None:
                large &= np.isin(model.T, models)
            usable_pieces[i] = np.where(large, left, 0).sum(axis=0)
        usable = usable_pieces[self.piece]
        fed = np.minimum(cpu / self.cpu[:, None], memory / self.memory[:, None])
        fits = (fed >= 1) & (usable >= self.amount[:, None])
        fed = np.floor(np.minimum(fed * self.amount[:, None], usable))
        worth: Floats = self.weight @ ((EVEN * usable + fed) * fits)
        return worth


def _size(device: DeviceDemand) -> int:
    return 1000 if device.whole else max(device.parts) // _THOUSANDTH


def _floats(values: list[int]) -> Floats:
    return np.array(values, np.float64)
