"""`packed`: the node whose accelerators lose least of their use for the sessions that come here. The default.

Each node has a worth: for each of the most frequent demands, how much of its free accelerators lies in pieces which
that demand can use, if the node can take it at all. What can be used counts EVEN times, and once more so far as the
node's cpu and memory can feed it, so that cpu and memory which would be missed later have their price. A session goes
where the worth falls least; of equal nodes to the tightest one, and only then by name.

Close to fragmentation gradient descent (Weng and others, USENIX ATC 2023), which counts a piece as usable or not and
does not look at memory. All numbers of the worth are whole, so that a decision is the same on every machine.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from caravan_manager.scheduler.arrays import PIECE, TYPICAL, Floats, Ints, Worth
from caravan_manager.scheduler.demand import WHOLE, Demand, DeviceDemand
from caravan_manager.scheduler.selectors.selector import Beside, Room

DEMANDS = 64
"""How many of the most frequent demands a worth looks at."""
EVEN = 4.0
"""How much more a free piece counts than that cpu and memory can feed it; from 2 to 10 the figures are the same."""
FEEDS = ("cpu", "mem")
"""What a node feeds its accelerators with."""
_WEIGHTS = 10_000
_Piece = tuple[str, int, frozenset[str]]
"""A slot, how much each device must have left, and the models that will do."""


class Packed:
    """The least loss of worth, then the least that is left."""

    def __init__(self, room: Room) -> None:
        self._left = room.left
        self._worth = _worth(room)
        self._now = np.zeros(len(room.left.names))
        self._is_known = np.zeros(len(room.left.names), np.bool_)
        self._read = len(room.left.changes)
        everywhere = np.arange(len(room.capacity.names))
        slots = sorted({*room.capacity.slots, *room.capacity.devices})
        places = [room.capacity.columns(slot) for slot in slots]
        self._places: Ints = np.array([(at.start, at.stop - 1) for at in places], np.int64).reshape(-1, 2)
        largest = [max(1, int(room.capacity.left(slot, everywhere).max(initial=0))) for slot in slots]
        self._largest = np.array(largest, np.float64)

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the loss of worth."""
        scores, places = np.empty(len(rows)), np.full(len(self._left.names), -1)
        places[rows] = np.arange(len(rows))
        self._rescore(demand, rows, places, scores)
        return scores

    def best(self, demand: Demand, rows: Ints, changed: Ints, places: Ints, scores: Floats) -> int:
        """Return the row that loses least, and of equals has least left."""
        from caravan_manager.scheduler.kernels import best  # noqa: PLC0415 - see there

        self._rescore(demand, changed, places, scores)
        return best(scores, rows, self._left.table, self._places, self._largest)

    def _rescore(self, demand: Demand, rows: Ints, places: Ints, scores: Floats) -> None:
        from caravan_manager.scheduler.kernels import losses  # noqa: PLC0415 - see there

        left = self._left
        for row in left.changes[self._read :]:
            self._is_known[row] = False
        self._read = len(left.changes)
        want = left.want(demand)
        losses(left.table, left.fixed, rows, places, want, scores, self._now, self._is_known, self._worth)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what is left of the nodes: the sum of its parts of the largest node."""
        from caravan_manager.scheduler.kernels import spare  # noqa: PLC0415 - see there

        return spare(self._left.table, rows, self._places, self._largest)


def _worth(room: Room) -> Worth:
    """Return what devices are worth to the typical demands."""
    fed_by = [slot for slot in FEEDS if slot in room.left.slots]
    pieces: dict[_Piece, int] = {}
    typical: list[tuple[int, int, int]] = []
    feed: list[list[int]] = []
    for slot in sorted(room.left.devices):
        for demand, device, weight in _weighted(slot, room.typical):
            piece = pieces.setdefault((slot, _size(device), demand.models), len(pieces))
            typical.append((piece, device.amount, weight))
            feed.append([max(1, dict(demand.counts).get(of_node, 0)) for of_node in fed_by])
    places = [(room.left.columns(slot), size) for slot, size, _ in pieces]
    allowed = [room.left.allowed(models) for _, _, models in pieces]
    return Worth(
        pieces=np.array([(at.start, at.stop - 1, size) for at, size in places], PIECE),
        allowed=np.array(allowed, np.bool_).reshape(len(pieces), len(room.left.models)),
        typical=np.array(typical, TYPICAL),
        feed=np.array(feed, np.float64).reshape(len(typical), len(fed_by)),
        fed_by=np.array([room.left.slots[slot] for slot in fed_by], np.int64),
        even=EVEN,
    )


def _weighted(slot: str, typical: Iterable[tuple[Demand, int]]) -> Iterator[tuple[Demand, DeviceDemand, int]]:
    """Yield the most frequent demands for devices of a slot, with their weights."""
    wanted = [(demand, device, count) for demand, count in typical for device in demand.devices if device.slot == slot]
    wanted = sorted(wanted, key=lambda w: (-w[2], _rank(w[0])))[:DEMANDS]
    total = sum(count for _, _, count in wanted)
    for demand, device, count in wanted:
        yield demand, device, max(1, count * _WEIGHTS // total)


def _rank(demand: Demand) -> tuple[object, ...]:
    """Return what puts demands in an order that is the same in every process: a set's own is not."""
    return demand.counts, [(d.slot, d.whole, d.parts) for d in demand.devices], sorted(demand.models)


def _size(device: DeviceDemand) -> int:
    return WHOLE if device.whole else max(device.parts)
