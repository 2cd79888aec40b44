"""The facts behind the planner's reasons: quotas in numbers, and what each node lacks, with its devices. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import numpy as np

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.quotas.model import Holder, Quota, is_counted, slot_of
from caravan_manager.scheduler.demand import Demand, amount_of, demand_of
from caravan_manager.scheduler.explaining.model import DeviceState, Lack, NodeState, Obstruction, QuotaState
from caravan_manager.scheduler.ledger import Ledger, numbers
from caravan_manager.scheduler.snapshot import CHECKS, NodeView, Obstacle, Reason, Snapshot
from caravan_manager.sessions.queue import PendingSession, PlacedSession

NODES = 8
"""Of how many nodes it is told what they lack: those that lack least."""
HOLDERS = 8
"""How many sessions are named that hold what a node lacks."""
DEVICES = 16
"""How many devices of a node are told of."""
AMONG_NODES = frozenset({Obstacle.NO_ROOM, Obstacle.LARGER_THAN_ANY_NODE})


def usage(holder: Holder, sessions: Iterable[PlacedSession | PendingSession]) -> tuple[ResourceSlots, int]:
    """Return what sessions take of a holder's quota: amounts, those by model too, and the number that it limits."""
    amounts: dict[str, Decimal] = {}
    count = 0
    for session in sessions:
        if holder in session.holders:
            count += is_counted(holder[0], session.type)
            for slot, amount in (*session.slots.items(), *session.slots_by_model.items()):
                amounts[slot] = amounts.get(slot, Decimal(0)) + amount
    return ResourceSlots(amounts), count


def passed_limits(session: PendingSession, quota: Quota, has: ResourceSlots, count: int) -> list[QuotaState]:
    """Return which limits of a quota the session would pass beside what its holder has."""
    states: list[QuotaState] = []
    if quota.sessions is not None and is_counted(quota.holder[0], session.type) and count >= quota.sessions:
        states.append(QuotaState(quota.holder, None, Decimal(count), Decimal(1), Decimal(quota.sessions)))
    for slot, asks in sorted(session.slots.items()):
        limit = quota.slots.most(slot)
        if (held := has.get(slot, Decimal(0))) + asks > limit:
            states.append(QuotaState(quota.holder, slot, held, asks, limit))
    for name, model in quota.slots.closed(session.slots, has):
        if not session.models or model in session.models:
            asks = session.slots[slot_of(name)]
            states.append(QuotaState(quota.holder, name, has.get(name, Decimal(0)), asks, quota.slots.models[name]))
    return states


def _parts_of(session: PendingSession) -> list[list[ResourceSlots]]:
    """Return the kernels that one node must take together."""
    kernels = [kernel.slots for kernel in session.kernels]
    return [kernels] if session.cluster_mode is ClusterMode.SINGLE_NODE else [[slots] for slots in kernels]


class Nodes:
    """The nodes that could take a session if nobody else used them, beside sessions that hold something of them."""

    def __init__(self, snapshot: Snapshot, session: PendingSession, placed: Sequence[PlacedSession]) -> None:
        of_group = [node for node in snapshot.nodes if node.scaling_group == session.scaling_group]
        usable = [node for node in of_group if node.schedulable and _would_do(node, session)]
        device_slots = {device.slot for node in of_group if node.schedulable for device in node.devices}
        self.closed = tuple(sorted(node.name for node in of_group if not node.schedulable))
        self.views = {node.name: node for node in usable}
        self.placed = placed
        self.parts = [demand_of(slots, device_slots, session.models) for slots in _parts_of(session)]
        """What each node that takes a part of the session must have."""
        self._empty = Ledger.of(usable)
        self._left = self._empty.holding(placed)

    def states(self, *, empty: bool = False) -> list[NodeState]:
        """Return what nodes lack of the part that wants most accelerators, those that lack least first.

        Those that never have enough are left out, unless ``empty`` asks what each lacks when nobody uses it.
        """
        ledger = self._empty if empty else self._left
        if not self.parts:
            return []
        demand = max(self.parts, key=lambda part: sum(device.amount for device in part.devices))
        rows = np.arange(len(ledger.names))
        if not empty:
            rows = rows[self._empty.fits(demand, rows)]
        lacking = {row: list[Lack]() for row in numbers(rows)}
        for slot, asks, alone in _slot_by_slot(demand):
            short = rows[~ledger.fits(alone, rows)]
            amounts = (numbers(column) for column in (short, ledger.left(slot, short), self._empty.left(slot, short)))
            for row, left, total in zip(*amounts, strict=True):
                lacking[row].append(Lack(slot, asks, amount_of(slot, left), amount_of(slot, total)))
        order = sorted(lacking, key=lambda row: (len(lacking[row]), sum(map(_shortage, lacking[row])), row))
        return [self._state(row, lacking[row]) for row in order[:NODES]]

    def _state(self, row: int, lacks: Sequence[Lack]) -> NodeState:
        name = self._empty.names[row]
        slots = {lack.slot for lack in lacks}
        holders = [
            session.id
            for session in self.placed
            if any(k.node == name and not slots.isdisjoint(k.slots) for k in session.kernels)
        ]
        return NodeState(name, tuple(lacks), self._devices(row, slots), tuple(holders[:HOLDERS]))

    def _devices(self, row: int, slots: set[str]) -> tuple[DeviceState, ...]:
        held: dict[tuple[str, str], Decimal] = {}
        name = self._empty.names[row]
        for session in self.placed:
            for kernel in session.kernels:
                for device in kernel.devices if kernel.node == name else ():
                    key = (device.slot, device.id)
                    held[key] = held.get(key, Decimal(0)) + device.amount
        found = [device for device in self.views[name].devices if device.slot in slots]
        return tuple(
            DeviceState(d.id, d.slot, d.model, max(1 - held.get((d.slot, d.id), Decimal(0)), Decimal(0)))
            if d.healthy
            else DeviceState(d.id, d.slot, d.model, Decimal(0), healthy=False, problem=d.problem)
            for d in found[:DEVICES]
        )


def _would_do(node: NodeView, session: PendingSession) -> bool:
    if node.architecture != session.architecture or not session.volumes <= node.volumes:
        return False
    return not session.nodes or node.name in session.nodes


def _slot_by_slot(demand: Demand) -> Iterator[tuple[str, Decimal, Demand]]:
    """Yield of each slot how much is wanted, and the demand for it alone."""
    for slot, amount in demand.counts:
        yield slot, amount_of(slot, amount), Demand(((slot, amount),))
    for wanted in demand.devices:
        yield wanted.slot, amount_of(wanted.slot, wanted.amount), Demand((), (wanted,), demand.models)


def _shortage(lack: Lack) -> float:
    return float((lack.asks - lack.left) / lack.asks) if lack.asks else 0.0


def obstruction(
    reason: Reason, snapshot: Snapshot, session: PendingSession, nodes: Nodes, *, only_then: bool
) -> Obstruction:
    """Return a reason with its facts."""
    told = Obstruction(reason, only_then=only_then)
    if reason.obstacle in CHECKS:
        return replace(told, quotas=_quotas_of(reason, snapshot, session, nodes.placed))
    if reason.obstacle is Obstacle.BEHIND_THE_HEAD:
        return replace(told, sessions=tuple(UUID(text) for text in reason.about))
    if reason.obstacle in AMONG_NODES:
        states = nodes.states(empty=reason.obstacle is Obstacle.LARGER_THAN_ANY_NODE)
        return replace(told, nodes=tuple(states), closed=nodes.closed)
    return replace(told, closed=nodes.closed)


def _quotas_of(
    reason: Reason, snapshot: Snapshot, session: PendingSession, placed: Sequence[PlacedSession]
) -> tuple[QuotaState, ...]:
    """Return the limits that a reason is about."""
    of_sessions = reason.obstacle is Obstacle.CONCURRENCY
    states: list[QuotaState] = []
    for quota in snapshot.quotas:
        if quota.holder in session.holders and quota.holder[1] in reason.about[:1]:
            has, count = usage(quota.holder, placed)
            states += [s for s in passed_limits(session, quota, has, count) if (s.slot is None) is of_sessions]
    return tuple(states)
