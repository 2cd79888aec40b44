"""Resource slots: exact amounts by slot name, and the forms that they take on the wire."""

import re
from collections.abc import ItemsView, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from caravan_common.errors import InvalidParametersError

_SIZE = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgtpe]?)(?:i?b)?$", re.IGNORECASE)
_UNITS = {unit: 1024**power for power, unit in enumerate(["", "k", "m", "g", "t", "p", "e"])}
_SLOT_NAME = re.compile(r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*(:[a-z0-9][a-z0-9.-]*)?)?$")

BYTES_SLOTS = frozenset({"mem"})
LARGEST = Decimal(2) ** 63 - 1
DECIMALS = 6
"""The finest part of a slot that can be asked for."""


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a size such as ``256m``, ``1.5g`` or ``268435456`` means (binary units)."""
    matched = _SIZE.match(text.strip())
    if matched is None:
        raise InvalidParametersError(f"{text!r} is not a size; write for example 256m or 1g")
    return int(Decimal(matched["number"]) * _UNITS[matched["unit"].lower()])


def _amount(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise InvalidParametersError(f"the amount of {name} must be a number", slot=name)
    if name in BYTES_SLOTS and isinstance(value, str):
        amount = Decimal(parse_bytes(value))
    else:
        try:
            amount = Decimal(str(value))
        except InvalidOperation as err:
            raise InvalidParametersError(f"{value!r} is not an amount of {name}", slot=name) from err
    if not amount.is_finite() or not 0 <= amount <= LARGEST or amount != round(amount, DECIMALS):
        raise InvalidParametersError(f"{value!r} is not a possible amount of {name}", slot=name)
    return amount


class ResourceSlots(Mapping[str, Decimal]):
    """An immutable map of slot name to exact amount; a name that is absent counts as zero in arithmetic."""

    __slots__ = ("_amounts", "_floats", "_hash")

    def __init__(self, amounts: Mapping[str, Decimal] | None = None) -> None:
        self._amounts = dict(amounts or {})
        self._floats: Mapping[str, float] | None = None
        self._hash: int | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> Self:
        """Read what a user or a database wrote. Raises InvalidParametersError for a bad name or amount."""
        for name in raw:
            if not _SLOT_NAME.match(name):
                raise InvalidParametersError(f"{name!r} is not a name of a resource slot")
        return cls({name: _amount(name, value) for name, value in raw.items()})

    @staticmethod
    def stored(raw: Mapping[str, str]) -> "ResourceSlots":
        """Read what :meth:`to_json` wrote. Equal amounts are one object, as a rule: requests have few shapes."""
        return _stored(tuple(raw.items()))

    def to_json(self) -> dict[str, str]:
        """Return amounts as plain decimal strings, as the protocol and the database hold them."""
        return {name: format(amount, "f") for name, amount in self._amounts.items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read what :meth:`to_json` wrote."""
        amounts = handler.generate_schema(dict[str, Decimal])
        return core_schema.no_info_after_validator_function(cls, amounts)

    def fits_in(self, room: "ResourceSlots") -> bool:
        """Say whether each amount is at most what ``room`` has of it."""
        return all(amount <= room.get(name, Decimal(0)) for name, amount in self._amounts.items())

    def __getitem__(self, name: str) -> Decimal:
        return self._amounts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def items(self) -> ItemsView[str, Decimal]:
        """Return names and amounts; the mapping's own way takes ten times as long."""
        return self._amounts.items()

    @property
    def floats(self) -> Mapping[str, float]:
        """The amounts as floats, for what needs no exact ones."""
        if self._floats is None:
            self._floats = MappingProxyType({name: float(amount) for name, amount in self._amounts.items()})
        return self._floats

    def __add__(self, other: "ResourceSlots") -> "ResourceSlots":
        total = dict(self._amounts)
        for name, amount in other.items():
            total[name] = total[name] + amount if name in total else amount
        return ResourceSlots(total)

    def __sub__(self, other: "ResourceSlots") -> "ResourceSlots":
        left = dict(self._amounts)
        for name, amount in other.items():
            left[name] = left.get(name, Decimal(0)) - amount
        return ResourceSlots(left)

    def __eq__(self, other: object) -> bool:
        return self._amounts == other._amounts if isinstance(other, ResourceSlots) else super().__eq__(other)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.floats.items()))  # equal amounts are equal floats, and these hash faster
        return self._hash

    def __reduce__(self) -> tuple[type, tuple[dict[str, Decimal]]]:
        return ResourceSlots, (self._amounts,)

    def __repr__(self) -> str:
        return f"ResourceSlots({self.to_json()})"


@lru_cache(maxsize=4096)
def _stored(amounts: tuple[tuple[str, str], ...]) -> ResourceSlots:
    return ResourceSlots.parse(dict(amounts))
