"""Presets, sets of slots under a name, and which of them a caller could have now. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_manager.quotas.model import SlotLimit

ALWAYS = frozenset({"cpu", "mem"})
"""The slots that every node has."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Slots under a name; ``shared_memory`` in bytes. With a scaling group it is offered for that one only."""

    id: UUID
    name: str
    slots: ResourceSlots
    shared_memory: int | None
    scaling_group: str | None


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that somebody may have of each known slot (infinity without a limit), and what is taken of it."""

    most: ResourceSlots
    using: ResourceSlots

    @classmethod
    def of(cls, limit: SlotLimit, using: ResourceSlots, known: Sequence[str]) -> "Budget":
        """Return the budget that a limit leaves, with an amount for each of the known slots."""
        return cls(ResourceSlots({name: limit.most(name) for name in known}), _each(using, known))

    @property
    def remaining(self) -> ResourceSlots:
        """What is left, never less than nothing."""
        left = self.most - self.using
        return ResourceSlots({name: max(amount, Decimal(0)) for name, amount in left.items()})


@dataclass(frozen=True, slots=True)
class Room:
    """What the caller takes of a scaling group, and what each of its nodes has left."""

    using: ResourceSlots
    nodes: tuple[ResourceSlots, ...]
    remaining: ResourceSlots

    @classmethod
    def of(cls, using: ResourceSlots, nodes: Sequence[ResourceSlots], known: Sequence[str]) -> "Room":
        """Return the room of a group, with an amount for each of the known slots."""
        return cls(_each(using, known), tuple(nodes), _each(total(nodes), known))


@dataclass(frozen=True, slots=True)
class Offer:
    """What a caller could have: by the keypair, by the project, and in each scaling group."""

    keypair: Budget
    project: Budget
    others: tuple[Budget, ...]
    rooms: Mapping[str, Room]
    presets: tuple[Preset, ...]

    @property
    def remaining(self) -> ResourceSlots:
        """What the nodes of all scaling groups have left."""
        return total([room.remaining for room in self.rooms.values()])

    def allows(self, preset: Preset) -> bool:
        """Say whether every budget has room for the preset, and one node of a scaling group that offers it."""
        budgets = (self.keypair, self.project, *self.others)
        rooms = [room for name, room in self.rooms.items() if preset.scaling_group in {None, name}]
        return all(preset.slots.fits_in(budget.remaining) for budget in budgets) and any(
            preset.slots.fits_in(node) for room in rooms for node in room.nodes
        )


def known_slots(nodes: Sequence[ResourceSlots]) -> list[str]:
    """Return the names of all slots that some node has."""
    return sorted(ALWAYS.union(*nodes))


def total(parts: Sequence[ResourceSlots]) -> ResourceSlots:
    """Return the sum."""
    return sum(parts, ResourceSlots())


def _each(amounts: ResourceSlots, known: Sequence[str]) -> ResourceSlots:
    return ResourceSlots({name: amounts.get(name, Decimal(0)) for name in known})
