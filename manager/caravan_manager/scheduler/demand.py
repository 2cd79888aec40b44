"""What a session wants of nodes, in the whole numbers that the ledger counts in. Pure.

A slot is counted in millionths, one of BYTES_SLOTS in bytes. A slot that some node has accelerators of is a wish for
devices: so many whole ones, and parts of others. A part never straddles devices.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from math import ceil

from caravan_common.slots import BYTES_SLOTS, ResourceSlots

WHOLE = 1_000_000
"""One whole device, and one of any slot that is not counted in bytes."""
MOST = 2**62
"""No node has so much of anything; a larger wish is this one."""


@dataclass(frozen=True, slots=True)
class DeviceDemand:
    """A wish for accelerators: ``whole`` devices that nobody else uses, and parts of others.

    Each of ``parts`` (millionths, the largest first) comes from a single device; several may share one.
    """

    slot: str
    whole: int
    parts: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many devices it takes, one for each part if none are shared."""
        return self.whole + len(self.parts)

    @property
    def amount(self) -> int:
        """All of it, in millionths of a device."""
        return self.whole * WHOLE + sum(self.parts)


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be had together on one node. ``models`` are those of the devices that will do; none means any."""

    counts: tuple[tuple[str, int], ...]
    devices: tuple[DeviceDemand, ...] = ()
    models: frozenset[str] = frozenset()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.counts, self.devices, self.models)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def slots(self) -> frozenset[str]:
        """The slots that it is about."""
        return frozenset([slot for slot, _ in self.counts] + [device.slot for device in self.devices])

    @property
    def size(self) -> tuple[int, tuple[int, ...]]:
        """What demands are compared by: first accelerators, then the other slots."""
        return sum(device.amount for device in self.devices), tuple(amount for _, amount in self.counts)


@lru_cache(maxsize=4096)
def units(slot: str, amount: Decimal) -> int:
    """Return an amount of a slot as a whole number."""
    exact = amount if slot in BYTES_SLOTS else amount * WHOLE
    return min(ceil(exact), MOST)


@lru_cache(maxsize=4096)
def units_of(slots: ResourceSlots) -> tuple[tuple[str, int], ...]:
    """Return each slot and its amount as a whole number."""
    return tuple((slot, units(slot, amount)) for slot, amount in slots.items())


@lru_cache(maxsize=1024)
def amount_of(slot: str, number: int) -> Decimal:
    """Return what a whole number of a slot is as an amount: 300,000 is 0.3, but of memory it is as many bytes."""
    return Decimal(number) if slot in BYTES_SLOTS else Decimal(number) / WHOLE


def demand_of(
    kernels: Sequence[ResourceSlots], device_slots: Collection[str], models: frozenset[str] = frozenset()
) -> Demand:
    """Return what kernels want together of one node, where ``device_slots`` are those that accelerators give."""
    counts: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for slots in kernels:
        for slot, wanted in units_of(slots):
            if slot not in device_slots:
                counts[slot] += wanted
                continue
            whole[slot] += wanted // WHOLE
            if part := wanted % WHOLE:
                parts[slot].append(part)
    devices = tuple(
        DeviceDemand(slot, whole[slot], tuple(sorted(parts[slot], reverse=True)))
        for slot in sorted(whole)
        if whole[slot] or parts[slot]
    )
    countable = tuple((slot, min(amount, MOST)) for slot, amount in sorted(counts.items()) if amount)
    return Demand(countable, devices, models if devices else frozenset())
