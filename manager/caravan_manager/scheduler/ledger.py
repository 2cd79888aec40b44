"""What the nodes and each of their accelerators have left. Plain bookkeeping in arrays, a row a node; no I/O.

What is taken here can be given on the node: a device's part is taken from that device, never from the node's sum.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.demand import MOST, WHOLE, Demand, DeviceDemand, units
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.model import HeldDevice
from caravan_manager.sessions.queue import PlacedKernel, PlacedSession

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
NO_DEVICE = -1
"""What stands where a node has no device, or one that is ill: nothing fits in it."""


@dataclass(frozen=True, slots=True)
class Pick:
    """What is taken of one device: its slot, its place among the node's devices of that slot, and millionths."""

    slot: str
    place: int
    amount: int


@dataclass(slots=True)
class DeviceRows:
    """The devices of one slot: a row a node, a column a device.

    ``free`` is what each has left in millionths, ``grain`` the smallest part of it, ``model`` and ``numa`` are numbers.
    """

    ids: list[tuple[str, ...]]
    free: Ints
    grain: Ints
    model: Ints
    numa: Ints

    def usable(self, rows: Ints, models: Ints | None) -> Ints:
        """Return what the devices of some rows have left; none of a device whose model will not do."""
        free = self.free.take(rows, axis=0)
        return free if models is None else np.where(np.isin(self.model[rows], models), free, NO_DEVICE)

    def spread(self, wanted: DeviceDemand, rows: Ints, models: Ints | None) -> tuple[Mask, Ints]:
        """Say which of the rows have enough devices, and what their devices would have left.

        Each part goes where the least is left beside it, the whole devices are any that are free then.
        """
        free = self.usable(rows, models)
        ok: Mask = np.ones(len(rows), np.bool_)
        if wanted.parts and free.size:
            grain, devices = self.grain.take(rows, axis=0), free.reshape(-1)
            first = np.arange(len(rows)) * free.shape[1]
            for part in wanted.parts:
                fitting = np.where((free >= part) & (part % grain == 0), free, MOST)
                chosen: Ints = first + fitting.argmin(axis=1)
                has = fitting.min(axis=1) < MOST
                devices[chosen] -= part * has
                ok &= has
        if wanted.whole:
            full = free == WHOLE
            order = np.add.accumulate(full, axis=1, dtype=np.int16)
            ok &= order.max(axis=1, initial=0) >= wanted.whole
            np.putmask(free, full & (order <= wanted.whole), 0)
        return ok, free

    def part(self, rows: Ints) -> "DeviceRows":
        """Return some rows, as a copy."""
        ids = [self.ids[row] for row in numbers(rows)]
        return DeviceRows(ids, self.free[rows], self.grain[rows], self.model[rows], self.numa[rows])


class Ledger:
    """The nodes of one scaling group, by name. Rows are numbers: the place of a node in ``names``."""

    def __init__(
        self, names: Sequence[str], slots: dict[str, int], counts: Ints, devices: dict[str, DeviceRows]
    ) -> None:
        self.names = tuple(names)
        self.slots = slots
        """The column of each countable slot in ``counts``."""
        self.counts = counts
        """What each node has left, [rows, slots]."""
        self.devices = devices
        self.last_used = np.zeros(len(self.names), np.int64)
        """When each node was last given a session; larger is later."""
        self.changes: list[int] = []
        """The rows that changed, in order: who remembers something of rows looks here what is out of date."""
        self._latest = 0
        self._row = {name: row for row, name in enumerate(self.names)}
        self._models: dict[str, int] = {}
        self._needs: dict[Demand, Ints | None] = {}

    @classmethod
    def of(cls, nodes: Sequence[NodeView]) -> Self:
        """Return the ledger of nodes that nobody uses."""
        ordered = sorted(nodes, key=lambda node: node.name)
        device_slots = {device.slot for node in ordered for device in node.devices}
        countable = sorted({slot for node in ordered for slot in node.capacity} - device_slots)
        models = {m: i for i, m in enumerate(sorted({d.model for node in ordered for d in node.devices}))}
        ledger = cls(
            [node.name for node in ordered],
            {slot: column for column, slot in enumerate(countable)},
            np.array([_counts(node, countable) for node in ordered], np.int64).reshape(len(ordered), len(countable)),
            {slot: _device_rows(slot, ordered, models) for slot in sorted(device_slots)},
        )
        ledger._models = models
        return ledger

    def holding(self, placed: Iterable[PlacedSession]) -> "Ledger":
        """Return a ledger of the same nodes of which sessions hold something; what is on other nodes is nothing to it.

        A device that is not there any more, or is ill, has nothing to take.
        """
        held = self.copy()
        counts: list[tuple[int, int, int]] = []
        devices: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for session in placed:
            at = int(session.placed_at.timestamp() * 1e6)
            for kernel in session.kernels:
                if (row := self._row.get(kernel.node)) is not None:
                    held.last_used[row] = max(held.last_used[row], at)
                    counts += self.counts_of(row, kernel)
                    for slot, place, amount in self.devices_of(row, kernel):
                        devices[slot].append((row, place, amount))
        _add_up(held.counts, counts, -1)
        for slot, amounts in devices.items():
            _add_up(held.devices[slot].free, amounts, -1)
        held._latest = int(held.last_used.max(initial=0))
        return held

    def counts_of(self, row: int, kernel: PlacedKernel) -> list[tuple[int, int, int]]:
        """Return what a kernel holds of the countable slots of a row: row, column, amount."""
        return [
            (row, column, units(slot, amount))
            for slot, amount in kernel.slots.items()
            if (column := self.slots.get(slot)) is not None
        ]

    def devices_of(self, row: int, kernel: PlacedKernel) -> list[tuple[str, int, int]]:
        """Return what a kernel holds of the devices of a row that are there and well: slot, place, amount."""
        found: list[tuple[str, int, int]] = []
        for device in kernel.devices:
            slot, place = self._place_of(row, device)
            if slot is not None and self.devices[slot].free[row, place] != NO_DEVICE:
                found.append((slot, place, units(slot, device.amount) if slot == device.slot else WHOLE))
        return found

    def row(self, name: str) -> int | None:
        """Return a node's row; None for one that is not here."""
        return self._row.get(name)

    def numbers_of(self, models: frozenset[str]) -> Ints | None:
        """Return the numbers that models have in the tables of devices; None for any model."""
        if not models:
            return None
        return np.array([self._models[model] for model in models if model in self._models], np.int64)

    def device_id(self, row: int, pick: Pick) -> str:
        """Return the ID of a picked device."""
        return self.devices[pick.slot].ids[row][pick.place]

    def copy(self) -> "Ledger":
        """Return a ledger of its own that says the same."""
        return self.part(np.arange(len(self.names)))

    def part(self, rows: Ints) -> "Ledger":
        """Return a ledger of its own of some rows, which are numbered anew."""
        devices = {slot: table.part(rows) for slot, table in self.devices.items()}
        ledger = Ledger([self.names[row] for row in numbers(rows)], self.slots, self.counts[rows], devices)
        ledger.last_used, ledger._latest = self.last_used[rows], self._latest
        ledger._models, ledger._needs = self._models, self._needs
        return ledger

    def fits(self, demand: Demand, rows: Ints) -> Mask:
        """Say on which of the rows all of a demand can be had at once."""
        return self.look(demand, rows)[0]

    def look(self, demand: Demand, rows: Ints) -> tuple[Mask, dict[str, Ints]]:
        """Say on which of the rows all of a demand can be had, and what their wanted devices would have left.

        The latter is by slot, [rows, devices], and means something only where the demand fits.
        """
        left: dict[str, Ints] = {}
        need = self._need(demand)
        if need is None:
            return np.zeros(len(rows), np.bool_), left
        ok: Mask = np.logical_and.reduce(self.counts.take(rows, axis=0) >= need, axis=1)
        models = self.numbers_of(demand.models)
        for wanted in demand.devices:
            table = self.devices.get(wanted.slot)
            if table is None:
                return np.zeros(len(rows), np.bool_), left
            enough, free = table.spread(wanted, rows, models)
            ok &= enough
            left[wanted.slot] = free if models is None else np.where(free == NO_DEVICE, table.free[rows], free)
        return ok, left

    def pick(self, demand: Demand, row: int) -> tuple[Pick, ...]:
        """Return which devices of a row, on which the demand fits, it is to have.

        A part goes to the device that has the least left beside it. Whole devices come from as few NUMA nodes as
        possible, from the one with the fewest free ones where there is a choice.
        """
        models = self.numbers_of(demand.models)
        return tuple(
            pick for wanted in demand.devices for pick in _picks(self.devices[wanted.slot], wanted, row, models)
        )

    def move(self, demand: Demand, row: int, picks: Iterable[Pick], sign: int) -> None:
        """Take a demand and its devices from a row (-1), or give them back (1)."""
        if (need := self._need(demand)) is not None:
            self.counts[row] += sign * need
        for pick in picks:
            self.devices[pick.slot].free[row, pick.place] += sign * pick.amount
        self.changes.append(row)

    def mark_used(self, row: int) -> None:
        """Remember that the row was given a session just now."""
        self._latest += 1
        self.last_used[row] = self._latest

    def lower(self, row: int, other: "Ledger", other_row: int) -> None:
        """Leave a row no more of anything than another ledger's row has; both are of the same node."""
        np.minimum(self.counts[row], other.counts[other_row], out=self.counts[row])
        for slot, table in self.devices.items():
            np.minimum(table.free[row], other.devices[slot].free[other_row], out=table.free[row])
        self.changes.append(row)

    def assign(self, row: int, other: "Ledger", other_row: int) -> None:
        """Make a row what another ledger's row is; both are of the same node."""
        self.counts[row] = other.counts[other_row]
        for slot, table in self.devices.items():
            table.free[row] = other.devices[slot].free[other_row]
        self.changes.append(row)

    def left(self, slot: str, rows: Ints) -> Ints:
        """Return what the rows have left of a slot, in its units."""
        if (table := self.devices.get(slot)) is not None:
            total: Ints = np.maximum(table.free.take(rows, axis=0), 0).sum(axis=1)
            return total
        column = self.slots.get(slot)
        return np.zeros(len(rows), np.int64) if column is None else self.counts[rows, column]

    def _need(self, demand: Demand) -> Ints | None:
        """Return a demand's amounts in the order of the columns; None when no node has one of its slots."""
        if demand not in self._needs:
            need = np.zeros(len(self.slots), np.int64)
            for slot, amount in demand.counts:
                if slot in self.slots:
                    need[self.slots[slot]] = amount
            self._needs[demand] = need if self.slots.keys() >= {slot for slot, _ in demand.counts} else None
        return self._needs[demand]

    def _place_of(self, row: int, device: HeldDevice) -> tuple[str | None, int]:
        """Return where a held device is: its slot, and its place among the node's of that; None when it is gone.

        A device may give another slot than when it was given, whole instead of in shares: then all of it is held.
        """
        for slot in (device.slot, *(self.devices.keys() - {device.slot})):
            table = self.devices.get(slot)
            if table is not None and device.id in table.ids[row]:
                return slot, table.ids[row].index(device.id)
        return None, 0


def _add_up(table: Ints, amounts: list[tuple[int, int, int]], sign: int) -> None:
    """Add amounts, each of a row and a column, to a table."""
    rows, columns, each = np.array(amounts, np.int64).reshape(-1, 3).T
    np.add.at(table, (rows, columns), sign * each)


def numbers(rows: Ints) -> list[int]:
    """Return rows as plain numbers."""
    return cast("list[int]", rows.tolist())


def _counts(node: NodeView, slots: Sequence[str]) -> list[int]:
    return [units(slot, node.capacity[slot]) if slot in node.capacity else 0 for slot in slots]


def _device_rows(slot: str, nodes: Sequence[NodeView], models: dict[str, int]) -> DeviceRows:
    found = [tuple(device for device in node.devices if device.slot == slot) for node in nodes]
    widest = max((len(devices) for devices in found), default=0)

    def table(value: Callable[[Device], int], missing: int) -> Ints:
        rows = [[value(device) for device in devices] + [missing] * (widest - len(devices)) for devices in found]
        return np.array(rows, np.int64).reshape(len(nodes), widest)

    return DeviceRows(
        [tuple(device.id for device in devices) for devices in found],
        free=table(lambda device: WHOLE if device.healthy else NO_DEVICE, NO_DEVICE),
        grain=table(lambda device: WHOLE // device.shares, 1),
        model=table(lambda device: models[device.model], -1),
        numa=table(lambda device: -1 if device.numa_node is None else device.numa_node, -1),
    )


def _picks(table: DeviceRows, wanted: DeviceDemand, row: int, models: Ints | None) -> list[Pick]:
    (usable,) = table.usable(np.array([row]), models)
    free, grain, numa = numbers(usable), numbers(table.grain[row]), numbers(table.numa[row])
    picks: list[Pick] = []
    for part in wanted.parts:
        place = min((left, i) for i, left in enumerate(free) if left >= part and part % grain[i] == 0)[1]
        free[place] -= part
        picks.append(Pick(wanted.slot, place, part))
    return picks + [Pick(wanted.slot, place, WHOLE) for place in _whole_devices(free, numa, wanted.whole)]


def _whole_devices(free: list[int], numa: list[int], count: int) -> list[int]:
    """Return the places of whole free devices: those of the NUMA node with the fewest that are enough, if there is one.

    Where none has enough, those of the NUMA nodes with the most come first.
    """
    by_numa: dict[int, list[int]] = {}
    for place, left in enumerate(free):
        if left == WHOLE:
            by_numa.setdefault(numa[place], []).append(place)
    enough = [places for places in by_numa.values() if len(places) >= count]
    if enough:
        return min(enough, key=len)[:count]
    rest = sorted(by_numa.values(), key=len, reverse=True)
    return [place for places in rest for place in places][:count]
