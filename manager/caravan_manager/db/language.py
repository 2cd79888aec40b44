"""The language of the protocol in which lists are filtered and ordered: its text becomes a tree. Pure.

A filter: ``name ilike "train%" & (status == "RUNNING" | priority >= 10) & !(tag is null)``. The comparisons are
``== != > >= < <= contains in is isnot like ilike``, the values strings in double quotes, numbers, arrays, ``null``,
``true`` and ``false``. An order: ``+created_at,-name``; a column without a sign ascends.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedInput
from lark import v_args as called_with  # pyright: ignore[reportUnknownVariableType]  # partly untyped

from caravan_common.errors import InvalidParametersError

LONGEST = 4096
"""How many characters a filter or an order may have."""
DEEPEST = 16
"""How deep a filter may nest."""
MOST_COLUMNS = 16
"""How many columns an order may name."""
LONGEST_NUMBER = 18
"""How many characters a number may have, so that 64 bits hold it."""

_FILTER = r"""
    ?start: either
    ?either: every ("|" every)*
    ?every: part ("&" part)*
    ?part: NAME OPERATOR _value -> comparison
         | "!" part -> negation
         | "(" either ")"
    _value: STRING | NUMBER | CONSTANT | array
    array: "[" (_value ("," _value)*)? "]"
    OPERATOR: /==|!=|>=|<=|>|<|(contains|in|isnot|is|like|ilike)(?![A-Za-z0-9_])/
    CONSTANT: /(null|true|false)(?![A-Za-z0-9_])/
    NAME: /[A-Za-z_][A-Za-z0-9_]*/
    STRING: /"(\\.|[^"\\])*"/s
    NUMBER: /[+-]?[0-9]+(\.[0-9]+)?/
    %ignore /\s+/
"""
_ORDER = r"""
    start: column ("," column)*
    column: SIGN? NAME
    SIGN: "+" | "-"
    NAME: /[A-Za-z_][A-Za-z0-9_]*/
    %ignore /\s+/
"""
_CONSTANTS = {"null": None, "true": True, "false": False}
_ESCAPED = re.compile(r'\\(["\\])')

Value = str | int | float | bool | None


class Operator(Enum):
    """How a column is compared with a value."""

    EQUALS = "=="
    DIFFERS = "!="
    GREATER = ">"
    AT_LEAST = ">="
    LESS = "<"
    AT_MOST = "<="
    CONTAINS = "contains"
    IN = "in"
    IS = "is"
    IS_NOT = "isnot"
    LIKE = "like"
    ILIKE = "ilike"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column and what it is compared with: a tuple for ``in``, else one value."""

    column: str
    operator: Operator
    value: Value | tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """What must not hold."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class Every:
    """What must hold together."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Parts of which one must hold."""

    parts: tuple["Filter", ...]


Filter = Comparison | Negation | Every | Either


@dataclass(frozen=True, slots=True)
class Ordering:
    """A column to order by."""

    column: str
    descending: bool


@called_with(inline=True)
class _FilterReader(Transformer[Token, Filter]):
    """Makes values of what the parser found, from the inside out."""

    def STRING(self, token: Token) -> str:  # noqa: N802
        return _ESCAPED.sub(r"\1", token[1:-1])

    def CONSTANT(self, token: Token) -> bool | None:  # noqa: N802
        return _CONSTANTS[token]

    def NUMBER(self, token: Token) -> int | float:  # noqa: N802
        if len(token) > LONGEST_NUMBER:
            raise InvalidParametersError(f"{token} has too many digits")
        return float(token) if "." in token else int(token)

    def array(self, *values: Value) -> tuple[Value, ...]:
        return values

    def comparison(self, column: Token, operator: Token, value: Value | tuple[Value, ...]) -> Comparison:
        if (operator == Operator.IN.value) != isinstance(value, tuple):
            raise InvalidParametersError(f"{column}: `in` takes an array, and nothing else does")
        return Comparison(str(column), Operator(str(operator)), value)

    def negation(self, part: Filter) -> Negation:
        return Negation(part)

    def every(self, *parts: Filter) -> Every:
        return Every(parts)

    def either(self, *parts: Filter) -> Either:
        return Either(parts)


@called_with(inline=True)
class _OrderReader(Transformer[Token, tuple[Ordering, ...]]):
    def column(self, *found: Token) -> Ordering:
        return Ordering(str(found[-1]), descending=found[0] == "-")

    def start(self, *columns: Ordering) -> tuple[Ordering, ...]:
        return columns


_filters = Lark(_FILTER, parser="lalr", transformer=_FilterReader())
_orders = Lark(_ORDER, parser="lalr", transformer=_OrderReader())


def read_filter(text: str) -> Filter:
    """Read a filter. Raises InvalidParametersError."""
    read = cast(Filter, _parsed(_filters, text, "filter"))
    if _levels(read) > DEEPEST:
        raise InvalidParametersError(f"the filter nests deeper than {DEEPEST} levels")
    return read


def read_order(text: str) -> tuple[Ordering, ...]:
    """Read an order. Raises InvalidParametersError."""
    read = cast(tuple[Ordering, ...], _parsed(_orders, text, "order"))
    if len(read) > MOST_COLUMNS:
        raise InvalidParametersError(f"an order has at most {MOST_COLUMNS} columns")
    return read


def _parsed(language: Lark, text: str, name: str) -> object:
    if len(text) > LONGEST:
        raise InvalidParametersError(f"the {name} is longer than {LONGEST} characters")
    try:
        return language.parse(text)  # pyright: ignore[reportUnknownMemberType]  # partly untyped
    except UnexpectedInput as err:
        place = "at its end" if err.pos_in_stream is None else f"at {text[err.pos_in_stream :][:20]!r}"
        raise InvalidParametersError(f"the {name} cannot be read {place}", **{name: text}) from err


def _levels(read: Filter) -> int:
    """Measure how deep a filter nests, without recursion: it is not bounded before."""
    deepest, rest = 0, [(read, 1)]
    while rest:
        part, level = rest.pop()
        deepest = max(deepest, level)
        if isinstance(part, Negation):
            rest.append((part.part, level + 1))
        elif isinstance(part, Every | Either):
            rest.extend((inner, level + 1) for inner in part.parts)
    return deepest
