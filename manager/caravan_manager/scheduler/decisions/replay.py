"""Plans a kept pass again and compares: the same snapshot must give the same decisions, bit for bit. Pure."""

import time
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

import orjson

from caravan_manager.scheduler.codec import encode
from caravan_manager.scheduler.decisions.packed import PackedPass
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Replayed:
    """A pass that was planned again: how long that took, and the first thing that is not as it was, if any."""

    seconds: float
    difference: str | None


def replay(kept: PackedPass, plugins: Plugins) -> Replayed:
    """Plan a pass again."""
    try:
        snapshot, was = kept.unpack_snapshot(), encode(kept.unpack_decisions())
    except ValueError as err:  # another version of Caravan kept it, in another form
        return Replayed(0.0, f"it cannot be read: {err}")
    began = time.perf_counter()
    decided = plan(snapshot, plugins)
    seconds = time.perf_counter() - began
    now = encode(decided)
    return Replayed(seconds, None if was == now else first_difference(orjson.loads(was), orjson.loads(now)))


def first_difference(was: object, now: object, path: str = "") -> str | None:
    """Return where two JSON values differ first, and how; None when they are the same."""
    parts = _parts(was, now, path)
    if parts is None:
        return None if was == now else f"{path}: {_text(was)} became {_text(now)}"
    return next((found for where, a, b in parts if (found := first_difference(a, b, where))), None)


def _parts(was: object, now: object, path: str) -> list[tuple[str, object, object]] | None:
    """Return the members of two objects or two lists side by side, and where each is."""
    if isinstance(was, dict) and isinstance(now, dict):
        before, after = cast("dict[str, object]", was), cast("dict[str, object]", now)
        keys = before | after
        return [(f"{path}.{key}".lstrip("."), before.get(key, _NOTHING), after.get(key, _NOTHING)) for key in keys]
    if isinstance(was, list) and isinstance(now, list):
        both = zip_longest(cast("list[object]", was), cast("list[object]", now), fillvalue=_NOTHING)
        return [(f"{path}[{place}]", one, other) for place, (one, other) in enumerate(both)]
    return None


def _text(value: object) -> str:
    return "nothing" if value is _NOTHING else orjson.dumps(value).decode()
