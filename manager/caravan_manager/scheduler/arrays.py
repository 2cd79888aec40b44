"""The arrays in which the planner keeps numbers: their types, and what its kernels read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Records = NDArray[np.void]

WISH = np.dtype([("first", "i8"), ("last", "i8"), ("whole", "i8"), ("parts", "i8")])
"""A wish for devices: the first and the last of their columns, how many whole ones, and how many parts of others."""
PIECE = np.dtype([("first", "i8"), ("last", "i8"), ("size", "i8")])
"""A size of pieces that typical demands want: the columns of its devices, and how much each must have left."""
TYPICAL = np.dtype([("piece", "i8"), ("amount", "f8"), ("weight", "f8")])
"""A typical demand: which pieces it wants, how much of them in all, and how much it counts."""


class Fixed(NamedTuple):
    """What never changes of the devices, [rows, columns] as the ledger's table.

    ``model`` is the number of a device's model, ``grain`` what its parts are multiples of, in millionths, and ``numa``
    its NUMA node, -1 for none.
    """

    model: Ints
    grain: Ints
    numa: Ints

    def part(self, rows: Ints) -> "Fixed":
        """Return some rows."""
        return Fixed(self.model[rows], self.grain[rows], self.numa[rows])


class Want(NamedTuple):
    """A demand in the columns of a ledger.

    ``need`` are its amounts of the countable slots, which have the first columns; ``wishes`` one WISH for each slot of
    devices, and ``parts`` the parts of all wishes one after the other, in millionths. ``allowed`` says by a model's
    number whether it will do. ``picks`` is how many devices it takes, ``device`` what one has that nobody uses.
    """

    need: Ints
    wishes: Records
    parts: Ints
    allowed: Mask
    picks: int
    device: int


class Worth(NamedTuple):
    """What makes up the worth of a node's devices.

    ``pieces`` are PIECEs, ``typical`` TYPICALs. ``allowed``, [pieces, models], says by a model's number whether it will
    do. ``feed``, [typical, slots], is what each demand wants of the slots that are in the columns ``fed_by``. A piece
    counts ``even`` times though nothing feeds it.
    """

    pieces: Records
    allowed: Mask
    typical: Records
    feed: Floats
    fed_by: Ints
    even: float
