"""What every sequencer is: it yields the sessions that wait, and learns of each whether it starts. Pure."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_manager.sessions.queue import PendingSession

Turns = Generator[PendingSession, bool, None]
"""Yields a session, and is sent whether it got its slots."""


@dataclass(frozen=True, slots=True)
class Past:
    """What tenants had of a scaling group lately: share-seconds of their dominant slot, decayed by half-lives."""

    of_users: Mapping[UUID, float] = field(default_factory=dict[UUID, float])
    of_projects: Mapping[UUID, float] = field(default_factory=dict[UUID, float])
    of_domains: Mapping[str, float] = field(default_factory=dict[str, float])


Amounts = Mapping[str, float]
"""Amounts by slot: a share needs no exact ones."""


def add_up(total: dict[str, float], slots: ResourceSlots, sign: int = 1) -> None:
    """Add amounts to a total, or take them away (-1)."""
    for slot, amount in slots.floats.items():
        total[slot] = total.get(slot, 0.0) + sign * amount


def capacity_of(nodes: Iterable[ResourceSlots]) -> dict[str, float]:
    """Return what nodes have in all: of each slot the sum, of accelerators those that are well."""
    total: dict[str, float] = {}
    for slots in nodes:
        add_up(total, slots)
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """What a scaling group has in all, what users have of it now, and what all had."""

    capacity: Amounts
    now: Mapping[UUID, Amounts] = field(default_factory=dict[UUID, Amounts])
    past: Past = Past()

    def dominant_share(self, amounts: Amounts) -> float:
        """Return the largest part that amounts are of the capacity; what the group does not have does not count."""
        return max((a / self.capacity[slot] for slot, a in amounts.items() if self.capacity.get(slot)), default=0.0)


class Sequencer(Protocol):
    """A rule. It must be a function of its arguments alone, or a plan could not be replayed.

    One that has the attribute ``needs_past = True`` is given the :class:`Past` in ``usage``, read anew every few
    minutes, decayed by the scaling group's ``fair_share_half_life``; for the others it is empty.
    """

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield each of the sessions, all of one priority, once; ``options`` are the scaling group's."""
        ...


def needs_past(sequencer: Sequencer | None) -> bool:
    """Say whether what tenants had lately is to be read for a sequencer; None is one that is not installed."""
    return getattr(sequencer, "needs_past", False) is True
