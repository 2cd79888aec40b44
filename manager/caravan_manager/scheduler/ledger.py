"""What the nodes and each of their accelerators have left. Plain bookkeeping in arrays, a row a node; no I/O.

What is taken here can be given on the node: a device's part is taken from that device, never from the node's sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, cast

import numpy as np

from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.arrays import WISH, Ints, Mask, Want
from caravan_manager.scheduler.demand import MOST, WHOLE, Demand, DeviceDemand, units
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.model import HeldDevice
from caravan_manager.sessions.queue import PlacedKernel, PlacedSession

Held = tuple[int, int, int]
"""What is held of a ledger's ``table``: the row, the column, the amount."""
NO_DEVICE = -1
"""What stands where a node has no device, or one that is ill: nothing fits in it."""


class Pick(NamedTuple):
    """What is taken of one device: its slot, its place among the node's devices of that slot, and millionths."""

    slot: str
    place: int
    amount: int


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """What never changes of the devices of one slot, a tuple a node, and where they are in the ledger's tables.

    ``numa`` are their NUMA nodes, -1 for none.
    """

    columns: slice
    ids: list[tuple[str, ...]]
    numa: list[tuple[int, ...]]

    def part(self, rows: list[int]) -> "DeviceRows":
        """Return some rows."""
        return DeviceRows(self.columns, [self.ids[row] for row in rows], [self.numa[row] for row in rows])


class Ledger:
    """The nodes of one scaling group, by name. Rows are numbers: the place of a node in ``names``."""

    def __init__(
        self, names: Sequence[str], slots: dict[str, int], devices: dict[str, DeviceRows], table: Ints,
        model: Ints, grain: Ints, models: dict[str, int],
    ) -> None:  # fmt: skip
        self.names = tuple(names)
        self.slots = slots
        """The column of each countable slot in ``table``: these come first."""
        self.devices = devices
        """The devices of each slot: each has a column, in ``table`` and the two that follow."""
        self.table = table
        """All that each node has left, [rows, columns]: of a device in millionths."""
        self.last_used = np.zeros(len(self.names), np.int64)
        """When each node was last given a session; larger is later."""
        self.changes: list[int] = []
        """The rows that changed, in order: who remembers something of rows looks here what is out of date."""
        self.model = model
        """The number of each device's model, in ``models``."""
        self.models = models
        self._model_names = tuple(models)  # they are numbered in this order
        self._grain = grain
        self._latest = 0
        self._row = {name: row for row, name in enumerate(self.names)}
        self._wants: dict[Demand, Want | None] = {}

    @classmethod
    def of(cls, nodes: Sequence[NodeView]) -> Self:
        """Return the ledger of nodes that nobody uses."""
        ordered = sorted(nodes, key=lambda node: node.name)
        names = [node.name for node in ordered]
        device_slots = sorted({device.slot for node in ordered for device in node.devices})
        countable = sorted({slot for node in ordered for slot in node.capacity} - set(device_slots))
        models = {m: i for i, m in enumerate(sorted({d.model for node in ordered for d in node.devices}))}
        counts = np.array([_counts(node, countable) for node in ordered], np.int64)
        counts = counts.reshape(len(names), len(countable))
        tables = [(counts, np.zeros_like(counts), np.ones_like(counts))]
        devices: dict[str, DeviceRows] = {}
        first = len(countable)
        for slot in device_slots:
            found = [[device for device in node.devices if device.slot == slot] for node in ordered]
            tables.append(_tables(found, models))
            devices[slot] = _device_rows(found, slice(first, first := first + tables[-1][0].shape[1]))
        free, model, grain = (np.hstack(parts) for parts in zip(*tables, strict=True))
        return cls(names, {slot: at for at, slot in enumerate(countable)}, devices, free, model, grain, models)

    def holding(self, placed: Iterable[PlacedSession]) -> "Ledger":
        """Return a ledger of the same nodes of which sessions hold something; what is on other nodes is nothing to it.

        A device that is not there any more, or is ill, has nothing to take.
        """
        held = self.copy()
        amounts: list[Held] = []
        for session in placed:
            at = int(session.placed_at.timestamp() * 1e6)
            for kernel in session.kernels:
                if (row := self._row.get(kernel.node)) is not None:
                    held.last_used[row] = max(held.last_used[row], at)
                    amounts += self.held_by(row, kernel)
        rows, columns, each = np.array(amounts, np.int64).reshape(-1, 3).T
        np.subtract.at(held.table, (rows, columns), each)
        held._latest = int(held.last_used.max(initial=0))
        return held

    def held_by(self, row: int, kernel: PlacedKernel) -> list[Held]:
        """Return what a kernel holds of a row: of countable slots, and of devices that are there and well."""
        held = [
            (row, column, units(slot, amount))
            for slot, amount in kernel.slots.items()
            if (column := self.slots.get(slot)) is not None
        ]
        for device in kernel.devices:
            slot, column = self._place_of(row, device)
            if slot is not None and self.table[row, column] != NO_DEVICE:
                held.append((row, column, units(slot, device.amount) if slot == device.slot else WHOLE))
        return held

    def row(self, name: str) -> int | None:
        """Return a node's row; None for one that is not here."""
        return self._row.get(name)

    def device_id(self, row: int, pick: Pick) -> str:
        """Return the ID of a picked device."""
        return self.devices[pick.slot].ids[row][pick.place]

    def model_of(self, row: int, pick: Pick) -> str:
        """Return the model of a picked device."""
        return self._model_names[int(self.model[row, self._column(pick)])]

    def copy(self) -> "Ledger":
        """Return a ledger of its own that says the same."""
        return self._like(self.names, self.devices, self.table.copy(), self.model, self._grain, self.last_used.copy())

    def part(self, rows: Ints) -> "Ledger":
        """Return a ledger of its own of some rows, which are numbered anew."""
        plain = numbers(rows)
        names = [self.names[row] for row in plain]
        devices = {slot: of_slot.part(plain) for slot, of_slot in self.devices.items()}
        return self._like(names, devices, self.table[rows], self.model[rows], self._grain[rows], self.last_used[rows])

    def _like(
        self, names: Sequence[str], devices: dict[str, DeviceRows], table: Ints, model: Ints, grain: Ints, used: Ints
    ) -> "Ledger":
        ledger = Ledger(names, self.slots, devices, table, model, grain, self.models)
        ledger.last_used, ledger._latest, ledger._wants = used, self._latest, self._wants
        return ledger

    def fits(self, demand: Demand, rows: Ints) -> Mask:
        """Say on which of the rows all of a demand can be had at once."""
        return self.look(demand, rows)[0]

    def look(self, demand: Demand, rows: Ints) -> tuple[Mask, Ints]:
        """Say on which of the rows all of a demand can be had, and what they would have left beside it.

        The latter has the columns of ``table``, and means something only where the demand fits.
        """
        from caravan_manager.scheduler.kernels import left_beside  # noqa: PLC0415 - see there

        if (want := self._want(demand)) is None:
            return np.zeros(len(rows), np.bool_), self.table[rows]
        return left_beside(self.table, self.model, self._grain, rows, want)

    def pick(self, demand: Demand, row: int) -> tuple[Pick, ...]:
        """Return which devices of a row, on which the demand fits, it is to have.

        A part goes to the device that has the least left beside it. Whole devices come from as few NUMA nodes as
        possible, from the one with the fewest free ones where there is a choice.
        """
        return tuple(pick for wanted in demand.devices for pick in self._picks(wanted, row, demand.models))

    def _picks(self, wanted: DeviceDemand, row: int, models: frozenset[str]) -> list[Pick]:
        of_slot = self.devices[wanted.slot]
        free = numbers(self.table[row, of_slot.columns])
        if models:
            will_do = {number for model, number in self.models.items() if model in models}
            found = zip(free, numbers(self.model[row, of_slot.columns]), strict=True)
            free = [left if model in will_do else NO_DEVICE for left, model in found]
        picks: list[Pick] = []
        if wanted.parts:
            grains = numbers(self._grain[row, of_slot.columns])
            for part in wanted.parts:
                place = _tightest(part, free, grains)
                free[place] -= part
                picks.append(Pick(wanted.slot, place, part))
        if wanted.whole:
            whole = _whole_devices(free, of_slot.numa[row], wanted.whole)
            picks += [Pick(wanted.slot, place, WHOLE) for place in whole]
        return picks

    def move(self, demand: Demand, row: int, picks: Iterable[Pick], sign: int) -> None:
        """Take a demand and its devices from a row (-1), or give them back (1)."""
        if (want := self._want(demand)) is not None:
            self.table[row, : len(self.slots)] += sign * want.need
        for pick in picks:
            self.table[row, self._column(pick)] += sign * pick.amount
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

    def state_of(self, row: int) -> tuple[bytes, ...]:
        """Return what a row has left, and of which devices; equal for rows that are alike."""
        return self.table[row].tobytes(), self.model[row].tobytes(), self._grain[row].tobytes()

    def columns(self, slot: str) -> slice:
        """Return which columns of ``table`` are of a slot; none where no node has it."""
        if (of_slot := self.devices.get(slot)) is not None:
            return of_slot.columns
        column = self.slots.get(slot)
        return slice(0, 0) if column is None else slice(column, column + 1)

    def left(self, slot: str, rows: Ints) -> Ints:
        """Return what the rows have left of a slot, in its units."""
        left: Ints = np.maximum(self.table[rows, self.columns(slot)], 0).sum(axis=1)
        return left

    def _column(self, pick: Pick) -> int:
        first: int = self.devices[pick.slot].columns.start
        return first + pick.place

    def _want(self, demand: Demand) -> Want | None:
        """Return a demand in the columns of this ledger; None when no node has one of its slots."""
        if demand not in self._wants:
            known = self.slots.keys() >= {slot for slot, _ in demand.counts}
            known &= self.devices.keys() >= {device.slot for device in demand.devices}
            self._wants[demand] = self._wanted(demand) if known else None
        return self._wants[demand]

    def _wanted(self, demand: Demand) -> Want:
        need = np.zeros(len(self.slots), np.int64)
        for slot, amount in demand.counts:
            need[self.slots[slot]] = amount
        places = [(wish, self.devices[wish.slot].columns) for wish in demand.devices]
        wishes = [(columns.start, columns.stop - 1, wish.whole, len(wish.parts)) for wish, columns in places]
        parts = [part for wish in demand.devices for part in wish.parts]
        return Want(need, np.array(wishes, WISH), np.array(parts, np.int64), self.allowed(demand.models), WHOLE)

    def allowed(self, models: frozenset[str]) -> Mask:
        """Say by its number whether a model is one of these; none means any."""
        return np.array([not models or model in models for model in self.models], np.bool_)

    def _place_of(self, row: int, device: HeldDevice) -> tuple[str | None, int]:
        """Return where a held device is: its slot, and its column; None when it is gone.

        A device may give another slot than when it was given, whole instead of in shares: then all of it is held.
        """
        for slot in (device.slot, *(self.devices.keys() - {device.slot})):
            of_slot = self.devices.get(slot)
            if of_slot is not None and device.id in of_slot.ids[row]:
                return slot, of_slot.columns.start + of_slot.ids[row].index(device.id)
        return None, 0


def numbers(rows: Ints) -> list[int]:
    """Return rows as plain numbers."""
    return cast("list[int]", rows.tolist())


def _counts(node: NodeView, slots: Sequence[str]) -> list[int]:
    return [units(slot, node.capacity[slot]) if slot in node.capacity else 0 for slot in slots]


def _device_rows(found: Sequence[Sequence[Device]], columns: slice) -> DeviceRows:
    ids = [tuple([device.id for device in of_node]) for of_node in found]
    numa = [tuple([-1 if d.numa_node is None else d.numa_node for d in of_node]) for of_node in found]
    return DeviceRows(columns, ids, numa)


def _tables(found: Sequence[Sequence[Device]], models: dict[str, int]) -> tuple[Ints, Ints, Ints]:
    """Return what devices have left that nobody uses, their models and their grains: a row for each node."""
    free = [[WHOLE if device.healthy else NO_DEVICE for device in of_node] for of_node in found]
    model = [[models[device.model] for device in of_node] for of_node in found]
    grain = [[WHOLE // device.shares for device in of_node] for of_node in found]
    return _padded(free, NO_DEVICE), _padded(model, 0), _padded(grain, 1)


def _padded(rows: Sequence[list[int]], none: int) -> Ints:
    """Return rows as a table, as wide as the longest."""
    widest = max(len(row) for row in rows)
    return np.array([row + [none] * (widest - len(row)) for row in rows], np.int64)


def _tightest(part: int, free: Sequence[int], grains: Sequence[int]) -> int:
    """Return the device with the least left of those that can give a part, the first one of equals."""
    able = [left if left >= part and part % grain == 0 else MOST for left, grain in zip(free, grains, strict=True)]
    least = min(able)
    if least == MOST:
        raise ValueError(f"no device has {part} millionths left")
    return able.index(least)


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
