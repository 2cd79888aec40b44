"""What the nodes and each of their accelerators have left. Plain bookkeeping in arrays, a row a node; no I/O.

What is taken here can be given on the node: a device's part is taken from that device, never from the node's sum.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.demand import MOST, WHOLE, Demand, DeviceDemand, units
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.model import HeldDevice
from caravan_manager.sessions.queue import PlacedKernel, PlacedSession

Ints = NDArray[np.int64]
Value = TypeVar("Value")
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

    ``free`` is what each has left in millionths: a view of the ledger's table. ``model`` has numbers. ``grain`` is the
    smallest part of a device, ``numa`` its NUMA node, as plain numbers; ``one_grain`` is set where all have the same.
    """

    ids: list[tuple[str, ...]]
    free: Ints
    model: Ints
    grain: list[tuple[int, ...]]
    numa: list[tuple[int, ...]]
    one_grain: int | None

    def spread(self, wanted: DeviceDemand, rows: Ints, models: Ints | None, free: Ints) -> Mask:
        """Take what is wanted from ``free``, what the devices of some rows have left; say which rows have enough.

        Each part goes where the least is left beside it, the whole devices are any that are free then. No device is
        taken whose model will not do.
        """
        if not free.size:
            return np.zeros(len(rows), np.bool_)
        if models is None:
            return self._take(wanted, rows, free)
        usable = np.where(np.isin(self.model[rows], models), free, NO_DEVICE)
        ok = self._take(wanted, rows, usable)
        np.copyto(free, usable, where=usable != NO_DEVICE)
        return ok

    def _take(self, wanted: DeviceDemand, rows: Ints, free: Ints) -> Mask:
        enough: list[Mask] = []
        each = np.arange(len(rows))
        for part in wanted.parts:
            fitting = np.where(self._can_give(part, rows, free), free, MOST)
            chosen = fitting.argmin(axis=1)
            has = fitting[each, chosen] < MOST
            free[each, chosen] -= part * has
            enough.append(has)
        if wanted.whole:
            full = free == WHOLE
            order = np.add.accumulate(full, axis=1, dtype=np.int16)
            enough.append(order[:, -1] >= wanted.whole)
            np.copyto(free, 0, where=full & (order <= wanted.whole))
        return enough[0] if len(enough) == 1 else np.logical_and.reduce(enough)

    def _can_give(self, part: int, rows: Ints, free: Ints) -> Mask:
        if self.one_grain is None:
            missing = free.shape[1]
            grain = [self.grain[row] + (1,) * (missing - len(self.grain[row])) for row in numbers(rows)]
            enough: Mask = (free >= part) & (part % np.array(grain, np.int64) == 0)
        else:
            enough = free >= (part if part % self.one_grain == 0 else MOST)
        return enough

    def part(self, rows: list[int], free: Ints) -> "DeviceRows":
        """Return some rows; ``free`` is theirs."""

        def some(values: list[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
            return [values[row] for row in rows]

        return DeviceRows(some(self.ids), free, self.model[rows], some(self.grain), some(self.numa), self.one_grain)


class Ledger:
    """The nodes of one scaling group, by name. Rows are numbers: the place of a node in ``names``."""

    def __init__(
        self, names: Sequence[str], slots: dict[str, int], table: Ints, devices: dict[str, DeviceRows]
    ) -> None:
        self.names = tuple(names)
        self.slots = slots
        """The column of each countable slot in ``table``: these come first."""
        self.table = table
        """All that each node has left, [rows, columns]."""
        self.counts: Ints = table[:, : len(slots)]
        """What each node has left of the countable slots: a view of ``table``."""
        self.devices = devices
        self.columns: dict[str, slice] = {}
        """Where in ``table`` the devices of each slot are."""
        first = len(slots)
        for slot, of_slot in devices.items():
            self.columns[slot] = slice(first, first + of_slot.model.shape[1])
            of_slot.free = table[:, self.columns[slot]]
            first = self.columns[slot].stop
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
        counts = np.array([_counts(node, countable) for node in ordered], np.int64)
        devices = {slot: _device_rows(slot, ordered, models) for slot in sorted(device_slots)}
        table = np.hstack([counts.reshape(len(ordered), len(countable)), *(of.free for of in devices.values())])
        columns = {slot: column for column, slot in enumerate(countable)}
        ledger = cls([node.name for node in ordered], columns, table, devices)
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

    def model(self, row: int, pick: Pick) -> str:
        """Return the model of a picked device."""
        return tuple(self._models)[int(self.devices[pick.slot].model[row, pick.place])]  # numbered in their order

    def copy(self) -> "Ledger":
        """Return a ledger of its own that says the same."""
        return self.part(np.arange(len(self.names)))

    def part(self, rows: Ints) -> "Ledger":
        """Return a ledger of its own of some rows, which are numbered anew."""
        plain = numbers(rows)
        devices = {slot: of_slot.part(plain, of_slot.free) for slot, of_slot in self.devices.items()}
        ledger = Ledger([self.names[row] for row in plain], self.slots, self.table[rows], devices)
        ledger.last_used, ledger._latest = self.last_used[rows], self._latest
        ledger._models, ledger._needs = self._models, self._needs
        return ledger

    def fits(self, demand: Demand, rows: Ints) -> Mask:
        """Say on which of the rows all of a demand can be had at once."""
        return self.look(demand, rows)[0]

    def look(self, demand: Demand, rows: Ints) -> tuple[Mask, Ints]:
        """Say on which of the rows all of a demand can be had, and what they would have left beside it.

        The latter has the columns of ``table``, and means something only where the demand fits.
        """
        left = self.table.take(rows, axis=0)
        need = self._need(demand)
        if need is None or not self.devices.keys() >= {device.slot for device in demand.devices}:
            return np.zeros(len(rows), np.bool_), left
        counts = left[:, : len(self.slots)]
        ok: Mask = np.logical_and.reduce(counts >= need, axis=1)
        counts -= need
        models = self.numbers_of(demand.models)
        for wanted in demand.devices:
            free = left[:, self.columns[wanted.slot]]
            ok &= self.devices[wanted.slot].spread(wanted, rows, models, free)
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
        np.minimum(self.table[row], other.table[other_row], out=self.table[row])
        self.changes.append(row)

    def assign(self, row: int, other: "Ledger", other_row: int) -> None:
        """Make a row what another ledger's row is; both are of the same node."""
        self.table[row] = other.table[other_row]
        self.changes.append(row)

    def state_of(self, row: int) -> tuple[object, ...]:
        """Return what a row has left, and of which devices; equal for rows that are alike."""
        devices = [(of_slot.model[row].tobytes(), of_slot.grain[row]) for of_slot in self.devices.values()]
        return self.table[row].tobytes(), *devices

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
    widest = max(len(devices) for devices in found)
    gone = (NO_DEVICE,) * widest

    def table(value: Callable[[Device], int]) -> Ints:
        rows = [tuple([value(device) for device in devices]) + gone[len(devices) :] for devices in found]
        return np.array(rows, np.int64)

    grains = {WHOLE // device.shares for devices in found for device in devices}
    return DeviceRows(
        [tuple([device.id for device in devices]) for devices in found],
        free=table(lambda device: WHOLE if device.healthy else NO_DEVICE),
        model=table(lambda device: models[device.model]),
        grain=[tuple([WHOLE // device.shares for device in devices]) for devices in found],
        numa=[tuple([-1 if device.numa_node is None else device.numa_node for device in d]) for d in found],
        one_grain=grains.pop() if len(grains) == 1 else None,
    )


def _picks(table: DeviceRows, wanted: DeviceDemand, row: int, models: Ints | None) -> list[Pick]:
    free, grain = numbers(table.free[row]), table.grain[row]
    if models is not None:
        free = [left if model in models else NO_DEVICE for left, model in zip(free, table.model[row], strict=True)]
    picks: list[Pick] = []
    for part in wanted.parts:
        place = min((left, i) for i, left in enumerate(free) if left >= part and part % grain[i] == 0)[1]
        free[place] -= part
        picks.append(Pick(wanted.slot, place, part))
    if not wanted.whole:
        return picks
    return picks + [Pick(wanted.slot, place, WHOLE) for place in _whole_devices(free, table.numa[row], wanted.whole)]


def _whole_devices(free: Sequence[int], numa: Sequence[int], count: int) -> list[int]:
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
