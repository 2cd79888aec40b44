"""What the nodes and each of their accelerators have left. Plain bookkeeping in arrays, a row a node; no I/O.

What is taken here can be given on the node: a device's part is taken from that device, never from the node's sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self, cast

import numpy as np

from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.arrays import WISH, Fixed, Ints, Mask, Want
from caravan_manager.scheduler.demand import WHOLE, Demand, units, units_of
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.model import HeldDevice
from caravan_manager.sessions.queue import PlacedKernel, PlacedSession

Held = tuple[int, int, int]
"""What is held of a ledger's ``table``: the row, the column, the amount."""
NO_DEVICE = -1
"""What stands where a node has no device, or one that is ill: nothing fits in it."""
NOWHERE_TO_BE_HAD = (0, -1, 1, 0)
"""A wish for a whole device among none."""


class Pick(NamedTuple):
    """What is taken of one device: its slot, its column in the ledger's ``table``, and millionths."""

    slot: str
    column: int
    amount: int


class Taken(NamedTuple):
    """What one part of a session takes of a node: of which row, which devices there, and so much of each column."""

    row: int
    picks: tuple[Pick, ...]
    amounts: Ints


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """The IDs of the devices of one slot, a tuple a node, and where they are in the ledger's tables."""

    columns: slice
    ids: list[tuple[str, ...]]

    def part(self, rows: list[int]) -> "DeviceRows":
        """Return some rows."""
        return DeviceRows(self.columns, [self.ids[row] for row in rows])


class Ledger:
    """The nodes of one scaling group, by name. Rows are numbers: the place of a node in ``names``."""

    def __init__(
        self, names: Sequence[str], slots: dict[str, int], devices: dict[str, DeviceRows], table: Ints, fixed: Fixed,
        models: dict[str, int],
    ) -> None:  # fmt: skip
        self.names = tuple(names)
        self.slots = slots
        """The column of each countable slot in ``table``: these come first."""
        self.devices = devices
        """The devices of each slot: each has a column, in ``table`` and in ``fixed``."""
        self.table = table
        """All that each node has left, [rows, columns]: of a device in millionths."""
        self.fixed = fixed
        self.last_used = np.zeros(len(self.names), np.int64)
        """When each node was last given a session; larger is later."""
        self.changes: list[int] = []
        """The rows that changed, in order: who remembers something of rows looks here what is out of date."""
        self.models = models
        """The number of each device's model, as ``fixed`` has it."""
        self._model_names = tuple(models)  # they are numbered in this order
        self._latest = 0
        self._row = {name: row for row, name in enumerate(self.names)}
        self._wants: dict[Demand, Want] = {}

    @classmethod
    def of(cls, nodes: Sequence[NodeView]) -> Self:
        """Return the ledger of nodes that nobody uses."""
        ordered = sorted(nodes, key=lambda node: node.name)
        of_slot = _by_slot(ordered)
        countable = sorted({slot for node in ordered for slot in node.capacity} - of_slot.keys())
        models = {m: i for i, m in enumerate(sorted({d.model for node in ordered for d in node.devices}))}
        counts = np.array([_counts(node, countable) for node in ordered], np.int64)
        counts = counts.reshape(len(ordered), len(countable))
        tables: list[tuple[Ints, ...]] = [(counts, np.zeros_like(counts), np.ones_like(counts), np.zeros_like(counts))]
        devices: dict[str, DeviceRows] = {}
        first = len(countable)
        for slot, found in sorted(of_slot.items()):
            tables.append(_tables(found, models))
            columns = slice(first, first := first + max(len(of_node) for of_node in found))
            devices[slot] = DeviceRows(columns, [tuple([device.id for device in of_node]) for of_node in found])
        free, *fixed = (np.hstack(parts) for parts in zip(*tables, strict=True))
        names = [node.name for node in ordered]
        return cls(names, {slot: at for at, slot in enumerate(countable)}, devices, free, Fixed(*fixed), models)

    def holding(self, placed: Iterable[PlacedSession]) -> "Ledger":
        """Return a ledger of the same nodes of which sessions hold something; what is on other nodes is nothing to it.

        A device that is not there any more, or is ill, has nothing to take.
        """
        held = self.copy()
        amounts: list[Held] = []
        used: dict[int, datetime] = {}
        for session in placed:
            for kernel in session.kernels:
                if (row := self._row.get(kernel.node)) is not None:
                    used[row] = max(used.get(row, session.placed_at), session.placed_at)
                    amounts += self.held_by(row, kernel)
        rows, columns, each = np.array(amounts, np.int64).reshape(-1, 3).T
        np.subtract.at(held.table, (rows, columns), each)
        for row, at in used.items():
            held.last_used[row] = int(at.timestamp() * 1e6)
        held._latest = int(held.last_used.max(initial=0))
        return held

    def held_by(self, row: int, kernel: PlacedKernel) -> list[Held]:
        """Return what a kernel holds of a row: of countable slots, and of devices that are there and well."""
        held = [
            (row, column, amount)
            for slot, amount in units_of(kernel.slots)
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
        of_slot = self.devices[pick.slot]
        first: int = of_slot.columns.start
        return of_slot.ids[row][pick.column - first]

    def model_of(self, row: int, pick: Pick) -> str:
        """Return the model of a picked device."""
        number: int = self.fixed.model[row, pick.column]
        return self._model_names[number]

    def copy(self) -> "Ledger":
        """Return a ledger of its own that says the same."""
        return self._like(self.names, self.devices, self.table.copy(), self.fixed, self.last_used.copy())

    def part(self, rows: Ints) -> "Ledger":
        """Return a ledger of its own of some rows, which are numbered anew."""
        plain = numbers(rows)
        names = [self.names[row] for row in plain]
        devices = {slot: of_slot.part(plain) for slot, of_slot in self.devices.items()}
        return self._like(names, devices, self.table[rows], self.fixed.part(rows), self.last_used[rows])

    def _like(
        self, names: Sequence[str], devices: dict[str, DeviceRows], table: Ints, fixed: Fixed, used: Ints
    ) -> "Ledger":
        ledger = Ledger(names, self.slots, devices, table, fixed, self.models)
        ledger.last_used, ledger._latest, ledger._wants = used, self._latest, self._wants
        return ledger

    def fits(self, demand: Demand, rows: Ints) -> Mask:
        """Say on which of the rows all of a demand can be had at once."""
        from caravan_manager.scheduler.kernels import fitting  # noqa: PLC0415 - see there

        return fitting(self.table, self.fixed, rows, self.want(demand))

    def look(self, demand: Demand, rows: Ints) -> tuple[Mask, Ints]:
        """Say on which of the rows all of a demand can be had, and what they would have left beside it.

        The latter has the columns of ``table``, and means something only where the demand fits.
        """
        from caravan_manager.scheduler.kernels import left_beside  # noqa: PLC0415 - see there

        return left_beside(self.table, self.fixed, rows, self.want(demand))

    def pick(self, demand: Demand, row: int) -> Taken:
        """Return what a demand takes of a row on which it fits. Raises ValueError when it does not.

        A part goes to the device that has the least left beside it. Whole devices come from as few NUMA nodes as
        possible, from the one with the fewest free ones where there is a choice.
        """
        from caravan_manager.scheduler.kernels import pick  # noqa: PLC0415 - see there

        want = self.want(demand)
        picked, amounts = np.empty((want.picks, 2), np.int64), np.empty(self.table.shape[1], np.int64)
        if not pick(self.table, self.fixed, row, want, picked, amounts):
            raise ValueError(f"{self.names[row]} has not the devices that are wanted: {demand}")
        each = iter(picked.tolist())
        picks = [Pick(wish.slot, *next(each)) for wish in demand.devices for _ in range(wish.count)]
        return Taken(row, tuple(picks), amounts)

    def take(self, row: int, amounts: Ints) -> None:
        """Take so much of each column from a row."""
        self.table[row] -= amounts
        self.changes.append(row)

    def give_back(self, row: int, amounts: Ints) -> None:
        """Undo a :meth:`take`."""
        self.table[row] += amounts
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
        return self.table[row].tobytes(), *(fixed[row].tobytes() for fixed in self.fixed)

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

    def want(self, demand: Demand) -> Want:
        """Return a demand in the columns of this ledger. One for a slot that no node has is nowhere to be had."""
        want = self._wants.get(demand)
        if want is None:
            want = self._wants[demand] = self._wanted(demand)
        return want

    def _wanted(self, demand: Demand) -> Want:
        need = np.zeros(len(self.slots), np.int64)
        for slot, amount in demand.counts:
            if slot in self.slots:
                need[self.slots[slot]] = amount
        places = [(wish, self.devices[wish.slot].columns) for wish in demand.devices if wish.slot in self.devices]
        wishes = [(columns.start, columns.stop - 1, wish.whole, len(wish.parts)) for wish, columns in places]
        counted = {slot for slot, _ in demand.counts} <= self.slots.keys()
        if not counted or len(places) < len(demand.devices):
            wishes.append(NOWHERE_TO_BE_HAD)
        parts = [part for wish, _ in places for part in wish.parts]
        return Want(
            need=need,
            wishes=np.array(wishes, WISH),
            parts=np.array(parts, np.int64),
            allowed=self.allowed(demand.models),
            picks=sum(wish.count for wish in demand.devices),
            device=WHOLE,
        )

    def allowed(self, models: frozenset[str]) -> Mask:
        """Say by its number whether a model is one of these; none means any."""
        return np.array([not models or model in models for model in self.models], np.bool_)

    def _place_of(self, row: int, device: HeldDevice) -> tuple[str | None, int]:
        """Return where a held device is: its slot, and its column; None when it is gone.

        A device may give another slot than when it was given, whole instead of in shares: then all of it is held.
        """
        if (column := self._column(device.slot, row, device.id)) is not None:
            return device.slot, column
        for slot in self.devices:
            if (column := self._column(slot, row, device.id)) is not None:
                return slot, column
        return None, 0

    def _column(self, slot: str, row: int, device: str) -> int | None:
        of_slot = self.devices.get(slot)
        if of_slot is None or device not in (ids := of_slot.ids[row]):
            return None
        first: int = of_slot.columns.start
        return first + ids.index(device)


def numbers(rows: Ints) -> list[int]:
    """Return rows as plain numbers."""
    return cast("list[int]", rows.tolist())


def _counts(node: NodeView, slots: Sequence[str]) -> list[int]:
    return [units(slot, node.capacity[slot]) if slot in node.capacity else 0 for slot in slots]


def _by_slot(nodes: Sequence[NodeView]) -> dict[str, list[list[Device]]]:
    """Return of each slot of devices those of each node."""
    found: dict[str, list[list[Device]]] = {}
    for row, node in enumerate(nodes):
        for device in node.devices:
            if (of_slot := found.get(device.slot)) is None:
                of_slot = found[device.slot] = [[] for _ in nodes]
            of_slot[row].append(device)
    return found


def _tables(found: Sequence[Sequence[Device]], models: dict[str, int]) -> tuple[Ints, ...]:
    """Return what devices have left that nobody uses, then what is ``Fixed`` of them: a row for each node."""
    kinds: dict[tuple[bool, str, int, int | None], int] = {}
    kind_of = [
        [kinds.setdefault((d.healthy, d.model, d.shares, d.numa_node), len(kinds)) for d in of_node]
        for of_node in found
    ]
    of_kind = [
        (WHOLE if healthy else NO_DEVICE, models[model], WHOLE // shares, -1 if numa is None else numa)
        for healthy, model, shares, numa in kinds
    ]
    table = np.array([*of_kind, (NO_DEVICE, 0, 1, -1)], np.int64)[_padded(kind_of, len(kinds))]
    return tuple(np.moveaxis(table, 2, 0))


def _padded(rows: Sequence[list[int]], none: int) -> Ints:
    """Return rows as a table, as wide as the longest."""
    widest = max(len(row) for row in rows)
    return np.array([row + [none] * (widest - len(row)) for row in rows], np.int64)
