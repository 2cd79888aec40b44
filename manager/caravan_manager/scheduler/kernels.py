"""The planner's innermost loops, as machine code: what a demand leaves of nodes, and what nodes are worth.

Numba compiles them when they are first called, and keeps what it made beside this file or in the user's cache until
this file changes: so they know no constants of other modules. Nothing checks the bounds of arrays here. Who calls them
imports this module only then, because Numba takes a second.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit

from caravan_manager.scheduler.arrays import Floats, Ints, Mask, Want, Worth

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _compiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return a function that compiles itself; it is kept for the next process where there is a folder for that."""
    try:
        made = njit(function, nogil=True, cache=True)
    except RuntimeError:  # neither the folder of this file nor the user's cache can be written
        made = njit(function, nogil=True)
    return cast("Callable[Given, Result]", made)


@_compiled
def left_beside(table: Ints, model: Ints, grain: Ints, rows: Ints, want: Want) -> tuple[Mask, Ints]:
    """Say on which rows all of a demand can be had, and what these have left beside it.

    ``table``, ``model`` and ``grain`` are the ledger's, [rows, columns].
    """
    fits = np.empty(len(rows), np.bool_)
    left = np.empty((len(rows), table.shape[1]), np.int64)
    for place, row in enumerate(rows):
        left[place] = table[row]
        counts = left[place, : len(want.need)]
        has_counts = np.all(counts >= want.need)
        counts -= want.need
        fits[place] = has_counts and _gives(left[place], model[row], grain[row], want)
    return fits, left


@_compiled
def _gives(free: Ints, model: Ints, grain: Ints, want: Want) -> bool:
    """Take from a row what is wished for, as long as there is enough."""
    first = 0
    for wish in want.wishes:
        for part in want.parts[first : first + wish["parts"]]:
            place = _tightest(free, model, grain, wish, part, want.allowed)
            if place < 0:
                return False
            free[place] -= part
        if not _gives_whole(free, model, wish, want):
            return False
        first += wish["parts"]
    return True


@_compiled
def _tightest(free: Ints, model: Ints, grain: Ints, wish: Any, part: int, allowed: Mask) -> int:
    """Return the device that has the least left beside a part, the first one of equals; -1 when none can give it."""
    best = -1
    for place in range(wish["first"], wish["last"] + 1):
        is_tighter = free[place] >= part and (best < 0 or free[place] < free[best])
        if is_tighter and part % grain[place] == 0 and allowed[model[place]]:
            best = place
    return best


@_compiled
def _gives_whole(free: Ints, model: Ints, wish: Any, want: Want) -> bool:
    missing = wish["whole"]
    for place in range(wish["first"], wish["last"] + 1):
        if missing and free[place] == want.device and want.allowed[model[place]]:
            free[place] = 0
            missing -= 1
    return bool(missing == 0)


@_compiled
def losses(table: Ints, model: Ints, rows: Ints, beside: Ints, now: Floats, is_known: Mask, worth: Worth) -> Floats:
    """Return how much less the rows are worth that have left what is ``beside``, [rows, columns].

    ``now`` is what each row of the table is worth where it ``is_known``; else it is worked out, and known from then on.
    """
    usable = np.empty(len(worth.pieces))
    lost = np.empty(len(rows))
    for place, row in enumerate(rows):
        if not is_known[row]:
            now[row] = _worth(table[row], model[row], usable, worth)
            is_known[row] = True
        lost[place] = now[row] - _worth(beside[place], model[row], usable, worth)
    return lost


@_compiled
def _worth(left: Ints, model: Ints, usable: Floats, worth: Worth) -> float:
    for number, piece in enumerate(worth.pieces):
        usable[number] = 0
        for place in range(piece["first"], piece["last"] + 1):
            if left[place] >= piece["size"] and worth.allowed[number, model[place]]:
                usable[number] += left[place]
    total = 0.0
    for number, demand in enumerate(worth.typical):
        fed = usable[demand["piece"]] / demand["amount"]
        for slot, column in enumerate(worth.fed_by):
            fed = min(fed, left[column] / worth.feed[number, slot])
        if fed >= 1:
            total += demand["weight"] * (worth.even * usable[demand["piece"]] + np.floor(fed * demand["amount"]))
    return total


@_compiled
def lowest(scores: Floats, rows: Ints) -> Ints:
    """Return the rows with the lowest score, in order; none where all are infinite."""
    best = np.inf
    count = 0
    for score in scores:
        if score < best:
            best = score
            count = 0
        if score == best and best < np.inf:
            count += 1
    found = np.empty(count, np.int64)
    count = 0
    for place, score in enumerate(scores):
        if score == best and best < np.inf:
            found[count] = rows[place]
            count += 1
    return found


@_compiled
def spare(left: Ints, rows: Ints, parts: Ints, largest: Floats) -> Floats:
    """Return the sum of what rows have left of each slot, as shares of the ``largest`` node's.

    ``parts`` are the first and the last column of each slot.
    """
    found = np.zeros(len(rows))
    for place, row in enumerate(rows):
        for slot in range(len(parts)):
            of_slot = 0
            for column in range(parts[slot, 0], parts[slot, 1] + 1):
                of_slot += max(left[row, column], 0)
            found[place] += of_slot / largest[slot]
    return found
