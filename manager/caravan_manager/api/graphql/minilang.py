"""The small languages of `filter` and `order`: text becomes a value, which decides about rows. Pure.

A filter is ``column operator value``, joined by ``&`` and ``|``, negated by ``!``, grouped by parentheses; an order is
``+column,-column``. Which columns there are is the caller's business.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_CHARACTERS = 2000
MAX_DEPTH = 20
Columns = Mapping[str, Callable[[Any], object]]
"""How the value of each column is found in a row."""
Row = TypeVar("Row")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<sign>==|!=|>=|<=|>|<|[&|!()\[\],])
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    )""",
    re.VERBOSE,
)
_CONSTANTS: dict[str, object] = {"null": None, "true": True, "false": False}
_COMPARISONS = frozenset({"==", "!=", ">", ">=", "<", "<=", "contains", "in", "isnot", "is", "like", "ilike"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column beside one value."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a filter."""

    inner: "Filter"


@dataclass(frozen=True, slots=True)
class All:
    """Several filters of which each must hold."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Any_:
    """Several filters of which one must hold."""

    parts: tuple["Filter", ...]


Filter = Comparison | Not | All | Any_
