"""A list's filter and order, in the protocol's language, become SQL on the columns that a list names; on no others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Numeric, String, and_, cast, false, literal, not_, or_

from caravan_common.errors import InvalidParametersError
from caravan_manager.db.language import (
    Comparison,
    Either,
    Every,
    Filter,
    Negation,
    Operator,
    Ordering,
    Value,
    read_filter,
    read_order,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows of a list, and in which order. None and () leave it to the list."""

    filter: Filter | None = None
    order: tuple[Ordering, ...] = ()

    @classmethod
    def read(cls, filter_: str | None, order: str | None) -> "Choice":
        """Read the two texts; empty ones choose nothing. Raises InvalidParametersError."""
        wanted = read_filter(filter_) if filter_ is not None and filter_.strip() else None
        return cls(wanted, read_order(order) if order is not None and order.strip() else ())


EVERYTHING = Choice()


@dataclass(frozen=True, slots=True)
class Field:
    """What a name means in SQL.

    ``read`` makes the database's value of one in a filter, or raises ValueError, TypeError or KeyError. ``among`` is
    for a name of several values a row: it makes of a condition on one of them the condition on the row.
    """

    expression: ColumnElement[Any]
    read: Callable[[Value], object]
    among: Callable[[ColumnElement[bool]], ColumnElement[bool]] | None = None


Fields = Mapping[str, Field]


def text(expression: ColumnElement[Any]) -> Field:
    """A field that holds text."""
    return Field(expression, _text)


def number(expression: ColumnElement[Any]) -> Field:
    """A field that holds a number."""
    return Field(expression, _number)


def flag(expression: ColumnElement[Any]) -> Field:
    """A field that holds true or false."""
    return Field(expression, _flag)


def moment(expression: ColumnElement[Any]) -> Field:
    """A field that holds a moment; filters write it in ISO 8601, in UTC where they name no zone."""
    return Field(expression, _moment)


def identity(expression: ColumnElement[Any]) -> Field:
    """A field that holds a UUID."""
    return Field(expression, _identity)


def word(expression: ColumnElement[Any], words: type[Enum]) -> Field:
    """A field that holds a value of an enumeration; filters write its name or its value, in any case."""
    known = {name.lower(): member.value for member in words for name in (str(member.value), member.name)}

    def read(value: Value) -> object:
        return known[_text(value).lower()]

    return Field(expression, read)


def conditions(choice: Choice, fields: Fields) -> list[ColumnElement[bool]]:
    """Return the conditions that rows must meet. Raises InvalidParametersError for an unknown name or a bad value."""
    return [] if choice.filter is None else [_condition(choice.filter, fields)]


def ordering(choice: Choice, fields: Fields, *otherwise: ColumnElement[Any]) -> Sequence[ColumnElement[Any]]:
    """Return what to order by: the columns chosen, then ``otherwise``, so that pages never overlap."""
    chosen: list[ColumnElement[Any]] = []
    for part in choice.order:
        field = _field(part.column, fields)
        if field.among is not None:
            raise InvalidParametersError(f"{part.column} has several values a row; nothing can be ordered by it")
        chosen.append(field.expression.desc() if part.descending else field.expression.asc())
    return [*chosen, *otherwise]


def _field(name: str, fields: Fields) -> Field:
    if name not in fields:
        raise InvalidParametersError(f"this list knows no field {name}", known=sorted(fields))
    return fields[name]


def _condition(wanted: Filter, fields: Fields) -> ColumnElement[bool]:
    if isinstance(wanted, Negation):
        return not_(_condition(wanted.part, fields))
    if isinstance(wanted, Every | Either):
        parts = [_condition(part, fields) for part in wanted.parts]
        return and_(*parts) if isinstance(wanted, Every) else or_(*parts)
    field = _field(wanted.column, fields)
    compared = _compared(wanted, field)
    return compared if field.among is None else field.among(compared)


def _compared(wanted: Comparison, field: Field) -> ColumnElement[bool]:
    column, operator, value = field.expression, wanted.operator, wanted.value
    if isinstance(value, tuple):
        return column.in_([_read(wanted.column, field, item) for item in value]) if value else false()
    if operator is Operator.CONTAINS:
        return cast(column, String).contains(_text_of(wanted), autoescape=True)
    if operator in _OF_PATTERNS:
        return _OF_PATTERNS[operator](cast(column, String), _pattern_of(wanted))
    if (value is None or isinstance(value, bool)) and operator not in _WITH_NULL:
        raise InvalidParametersError(f"{wanted.column}: null, true and false have no order")
    return _OF_VALUES[operator](column, _read(wanted.column, field, value))


def _read(name: str, field: Field, value: Value) -> object:
    if value is None:
        return None
    try:
        return field.read(value)
    except (ValueError, TypeError, KeyError, OverflowError) as err:
        raise InvalidParametersError(f"{value!r} is no value of {name}") from err


def _text_of(wanted: Comparison) -> str:
    if not isinstance(wanted.value, str):
        raise InvalidParametersError(f"{wanted.column}: {wanted.operator.value} takes text")
    return wanted.value


def _pattern_of(wanted: Comparison) -> str:
    pattern = _text_of(wanted)
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise InvalidParametersError(f"{wanted.column}: a pattern cannot end with a backslash alone")
    return pattern


_OF_PATTERNS: dict[Operator, Callable[[ColumnElement[Any], str], ColumnElement[bool]]] = {
    Operator.LIKE: lambda column, value: column.like(value),
    Operator.ILIKE: lambda column, value: column.ilike(value),
}
_WITH_NULL = {Operator.EQUALS, Operator.DIFFERS, Operator.IS, Operator.IS_NOT}
_OF_VALUES: dict[Operator, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    Operator.EQUALS: lambda column, value: column == value,
    Operator.DIFFERS: lambda column, value: column != value,
    Operator.GREATER: lambda column, value: column > value,
    Operator.AT_LEAST: lambda column, value: column >= value,
    Operator.LESS: lambda column, value: column < value,
    Operator.AT_MOST: lambda column, value: column <= value,
    Operator.IS: lambda column, value: column.is_not_distinct_from(value),
    Operator.IS_NOT: lambda column, value: column.is_distinct_from(value),
}


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Value) -> ColumnElement[Decimal]:
    """Compare as exact numbers: an integer column then takes any number, however large, and fractions."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return literal(Decimal(str(value)), Numeric())


def _flag(value: Value) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _moment(value: Value) -> datetime:
    read = datetime.fromisoformat(_text(value))
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)


def _identity(value: Value) -> UUID:
    return UUID(_text(value))
