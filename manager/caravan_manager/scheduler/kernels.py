"""The planner's innermost loops, as machine code: what a demand leaves of nodes, and what nodes are worth.

Numba compiles them when they are first called, and keeps what it made beside this file or in the user's cache until
this file or ``arrays.py`` changes: so they know no constants of other modules. Nothing checks the bounds of arrays
here. Who calls them imports this module only then, because Numba takes a second.
"""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numba.core import config

from caravan_manager.scheduler.arrays import Fixed, Floats, Ints, Mask, Want, Worth

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _cache_folder() -> Path | None:
    """Return a folder for what is made of just these sources: here or in the user's cache; None for neither.

    What was made of others need not even be readable: it names types that may not be there any more.
    """
    here = Path(__file__)
    sources = here.read_bytes() + here.with_name("arrays.py").read_bytes()
    own = f"kernels-{sha256(sources).hexdigest()[:16]}"
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    for parent in (here.parent / "__pycache__", users / "caravan"):
        try:
            folder = parent.expanduser() / own
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # it can't be written; there is no home
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_KEPT_IN = _cache_folder()
if _KEPT_IN is not None:
    config.__dict__["CACHE_DIR"] = str(_KEPT_IN)


def _compiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return a function that compiles itself; it is kept for the next process where there is a folder for that."""
    return cast("Callable[Given, Result]", njit(function, nogil=True, cache=_KEPT_IN is not None))


@_compiled
def fitting(table: Ints, fixed: Fixed, rows: Ints, want: Want) -> Mask:
    """Say on which rows all of a demand can be had. ``table`` and ``fixed`` are the ledger's, [rows, columns]."""
    fits = np.empty(len(rows), np.bool_)
    left = np.empty(table.shape[1], np.int64)
    for place, row in enumerate(rows):
        fits[place] = _take(table, fixed, row, want, left)
    return fits


@_compiled
def left_beside(table: Ints, fixed: Fixed, rows: Ints, want: Want) -> tuple[Mask, Ints]:
    """Say on which rows all of a demand can be had, and what these have left beside it: [rows, columns]."""
    fits = np.empty(len(rows), np.bool_)
    left = np.empty((len(rows), table.shape[1]), np.int64)
    for place, row in enumerate(rows):
        fits[place] = _take(table, fixed, row, want, left[place])
    return fits, left


@_compiled
def _take(table: Ints, fixed: Fixed, row: int, want: Want, left: Ints) -> bool:
    """Say whether a row has all of a demand, and write what it has ``left`` beside it."""
    left[:] = table[row]
    counts = left[: len(want.need)]
    has_counts = np.all(counts >= want.need)
    counts -= want.need
    return bool(has_counts and _gives(left, fixed.model[row], fixed.grain[row], want))


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
        if missing and _is_whole(free, model, place, want):
            free[place] = 0
            missing -= 1
    return bool(missing == 0)


@_compiled
def pick(table: Ints, fixed: Fixed, row: int, want: Want, picked: Ints, amounts: Ints) -> bool:
    """Write which devices of a row a demand gets, and how much it takes of each column of the table.

    ``picked``, [want.picks, 2], are the columns of the devices, and how much is taken of each. A part goes to the
    device that has the least left beside it. Returns whether the devices are to be had there.
    """
    free, model, grain, numa = table[row].copy(), fixed.model[row], fixed.grain[row], fixed.numa[row]
    free[: len(want.need)] -= want.need
    count = first = 0
    for wish in want.wishes:
        for part in want.parts[first : first + wish["parts"]]:
            place = _tightest(free, model, grain, wish, part, want.allowed)
            if place < 0:
                return False
            free[place] -= part
            picked[count] = place, part
            count += 1
        first += wish["parts"]
        if not _pick_whole(free, model, numa, wish, want, picked[count:]):
            return False
        count += wish["whole"]
    amounts[:] = table[row] - free
    return True


@_compiled
def _pick_whole(free: Ints, model: Ints, numa: Ints, wish: Any, want: Want, picked: Ints) -> bool:
    """Pick whole devices, from as few NUMA nodes as possible: from the one with the fewest of those that have enough.

    Where none has, first from the one with the most.
    """
    count, missing = 0, wish["whole"]
    while missing:
        best, most = -1, 0
        for place in range(wish["first"], wish["last"] + 1):
            there = _whole_from(free, model, numa, place, wish, want)
            if (there > most) if most < missing else (missing <= there < most):
                best, most = place, there
        if best < 0:
            return False
        for place in range(best, wish["last"] + 1):
            if missing and numa[place] == numa[best] and _is_whole(free, model, place, want):
                free[place] = 0
                picked[count] = place, want.device
                count += 1
                missing -= 1
    return True


@_compiled
def _whole_from(free: Ints, model: Ints, numa: Ints, first: int, wish: Any, want: Want) -> int:
    """Return how many whole devices are free on a NUMA node, of which this is the first; 0 where it is not."""
    there = 0
    for place in range(wish["first"], wish["last"] + 1):
        if numa[place] == numa[first] and _is_whole(free, model, place, want):
            if place < first:
                return 0
            there += 1
    return there if _is_whole(free, model, first, want) else 0


@_compiled
def _is_whole(free: Ints, model: Ints, place: int, want: Want) -> bool:
    return bool(free[place] == want.device and want.allowed[model[place]])


@_compiled
def losses(
    table: Ints, fixed: Fixed, rows: Ints, places: Ints, want: Want, scores: Floats, now: Floats, is_known: Mask,
    worth: Worth,
) -> None:  # fmt: skip
    """Write how much less rows are worth beside a demand: infinitely much less where it is not to be had.

    ``places`` says where the score of each row of the table belongs, -1 for nowhere. ``now`` is what each is worth
    where it ``is_known``; else it is worked out, and known from then on.
    """
    left = np.empty(table.shape[1], np.int64)
    usable = np.empty(len(worth.pieces))
    for row in rows:
        if places[row] < 0:
            continue
        lost = np.inf
        if _take(table, fixed, row, want, left):
            if not is_known[row]:
                now[row] = _worth(table[row], fixed.model[row], usable, worth)
                is_known[row] = True
            lost = now[row] - _worth(left, fixed.model[row], usable, worth)
        scores[places[row]] = lost


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
def best(scores: Floats, rows: Ints, left: Ints, parts: Ints, largest: Floats) -> int:
    """Return the row with the lowest score, of equals the first that has least to spare; -1 where all are infinite."""
    lowest_score = np.inf
    for score in scores:
        lowest_score = min(score, lowest_score)
    found, least = -1, np.inf
    for place, score in enumerate(scores):
        if score == lowest_score and score < np.inf:
            spared = _spare(left[rows[place]], parts, largest)
            if found < 0 or spared < least:
                found, least = rows[place], spared
    return found


@_compiled
def spare(left: Ints, rows: Ints, parts: Ints, largest: Floats) -> Floats:
    """Return the sum of what rows have left of each slot, as shares of the ``largest`` node's.

    ``parts`` are the first and the last column of each slot.
    """
    found = np.empty(len(rows))
    for place, row in enumerate(rows):
        found[place] = _spare(left[row], parts, largest)
    return found


@_compiled
def _spare(left: Ints, parts: Ints, largest: Floats) -> float:
    total = 0.0
    for slot in range(len(parts)):
        of_slot = 0
        for column in range(parts[slot, 0], parts[slot, 1] + 1):
            of_slot += max(left[column], 0)
        total += of_slot / largest[slot]
    return total
