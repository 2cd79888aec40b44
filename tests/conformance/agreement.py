"""Whether two answers agree: in status, problem type, and the keys of their JSON at every depth.

Values are not compared. Lists are compared by their first items. Null, an empty list and an empty object agree with any
value, since they are what an empty database or an unset column gives.

What differs on purpose stands in a TOML file with its reason; `guide.py` shows those files to people.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.conformance.records import Answer

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def differences(recorded: Answer, ours: Answer) -> list[str]:
    """Return in what our answer differs from the recorded one, a line each; nothing when they agree."""
    found: list[str] = []
    if recorded.status != ours.status:
        found.append(f"status {recorded.status} recorded, {ours.status} ours")
    if recorded.status >= 400 and ours.status >= 400 and _of(recorded, "type") != _of(ours, "type"):
        found.append(f"type {_of(recorded, 'type')} recorded, {_of(ours, 'type')} ours")
    return [*found, *_shape(recorded.body, ours.body, "body")]


def _of(answer: Answer, key: str) -> object:
    return answer.body.get(key) if isinstance(answer.body, dict) else None


def _shape(recorded: Any, ours: Any, where: str) -> Iterator[str]:
    if not _says_something(recorded) or not _says_something(ours):
        return
    if _kind(recorded) != _kind(ours):
        yield f"{where}: {_kind(recorded)} recorded, {_kind(ours)} ours"
    elif isinstance(recorded, dict):
        yield from (f"{where}: without {key}" for key in sorted(recorded.keys() - ours.keys()))
        yield from (f"{where}: with {key}" for key in sorted(ours.keys() - recorded.keys()))
        for key in sorted(recorded.keys() & ours.keys()):
            yield from _shape(recorded[key], ours[key], f"{where}.{key}")
    elif isinstance(recorded, list):
        yield from _shape(recorded[0], ours[0], f"{where}[]")


def _says_something(value: Any) -> bool:
    return value is not None and value != [] and value != {}


def _kind(value: Any) -> str:
    return "object" if isinstance(value, dict) else "list" if isinstance(value, list) else "scalar"


def same_things(recorded: Any, ours: Any) -> dict[str, str]:
    """Return the IDs in a recorded body with those that stand in the same places of ours."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        return _merged(same_things(recorded[key], ours[key]) for key in recorded.keys() & ours.keys())
    if isinstance(recorded, list) and isinstance(ours, list):
        return _merged(same_things(one, other) for one, other in zip(recorded, ours, strict=False))
    if isinstance(recorded, str) and isinstance(ours, str) and _ID.fullmatch(recorded) and _ID.fullmatch(ours):
        return {recorded: ours}
    return {}


def _merged(parts: Iterable[dict[str, str]]) -> dict[str, str]:
    whole: dict[str, str] = {}
    for part in parts:
        whole |= part
    return whole


@dataclass(frozen=True, slots=True)
class Entry:
    """Exchanges (names, or patterns with ``*``), why they differ, and the lines in which they do."""

    exchanges: tuple[str, ...]
    reason: str
    lines: tuple[str, ...] = ()

    def names(self, exchange: str) -> bool:
        """Say whether this entry speaks of an exchange."""
        return any(fnmatchcase(exchange, pattern) for pattern in self.exchanges)


@dataclass(frozen=True, slots=True)
class Justified:
    """What one file of records differs in on purpose, and which of its exchanges Caravan does not answer yet."""

    differences: tuple[Entry, ...]
    not_yet: tuple[Entry, ...]

    @classmethod
    def read(cls, file: Path) -> "Justified":
        """Read a file with the tables ``difference`` (exchanges, reason, lines) and ``not_yet`` (exchanges, reason)."""
        read = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(_entries(read.get("difference", [])), _entries(read.get("not_yet", [])))

    def is_not_yet(self, exchange: str) -> bool:
        """Say whether an exchange is of a part of the protocol that is not there yet."""
        return any(entry.names(exchange) for entry in self.not_yet)

    def unjustified(self, exchange: str, found: list[str]) -> list[str]:
        """Return what must not be: lines that nobody justified, and justified lines that are no difference."""
        expected = [line for entry in self.differences if entry.names(exchange) for line in entry.lines]
        more = [line for line in found if line not in expected]
        return more + [f"justified, but agrees: {line}" for line in expected if line not in found]


def _entries(tables: list[dict[str, Any]]) -> tuple[Entry, ...]:
    return tuple(Entry(tuple(t["exchanges"]), t["reason"], tuple(t.get("lines", []))) for t in tables)
