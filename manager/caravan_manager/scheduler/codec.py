"""Snapshots, plans and traces as canonical JSON, and back: equal values have equal bytes. Pure.

The shapes are the dataclasses' own, so that a new field is written and read without a line here. Amounts are decimal
strings, sets are in order, and keys of maps are sorted.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from caravan_common.slots import ResourceSlots

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_readers: dict[type, TypeAdapter[Any]] = {}
"""Made once each: that takes longer than to read."""
Value = TypeVar("Value")


def encode(value: object) -> bytes:
    """Return a value as JSON. Raises TypeError for what has no form here."""
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def decode(shape: type[Value], raw: bytes) -> Value:
    """Read what :func:`encode` wrote. Raises ValueError for anything else."""
    if (reader := _readers.get(shape)) is None:
        reader = _readers[shape] = TypeAdapter(shape)
    return cast("Value", reader.validate_json(raw))


def _plain(value: object) -> object:
    match value:
        case ResourceSlots():
            return value.to_json()
        case Decimal():
            return format(value, "f")
        case frozenset():
            return sorted(cast("frozenset[str]", value))
        case timedelta():
            return f"P{value.days}DT{value.seconds}.{value.microseconds:06}S"  # as a number of seconds it is not exact
        case UUID():  # PostgreSQL's driver has a class of its own
            return str(value)
        case Mapping():
            return dict(cast("Mapping[object, object]", value))
        case _:
            raise TypeError(f"a {type(value).__name__} has no form in JSON")
