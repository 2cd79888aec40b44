"""Nodes, sessions and snapshots for the tests of the planner."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Placement, Plan, Snapshot, Wait
from caravan_manager.sessions.queue import KernelRequest, PendingSession, PlacedSession

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GIB = 2**30


def tenant(number: int) -> Tenant:
    return Tenant(f"AK{number}", user=UUID(int=number), project=UUID(int=0), domain="default")


def slots(cpu: float = 1, gib: float = 1, **devices: float) -> ResourceSlots:
    """Amounts; a device's slot is written ``cuda_shares``."""
    amounts = {"cpu": Decimal(str(cpu)), "mem": Decimal(str(gib)) * GIB}
    return ResourceSlots(amounts | {name.replace("_", "."): Decimal(str(n)) for name, n in devices.items() if n})


def node(name: str, cpu: float = 64, gib: float = 256, *devices: Device, **rest: Any) -> NodeView:
    view = NodeView(name, "default", "x86_64", True, slots(cpu, gib), devices)
    return replace(view, **rest)


def gpus(count: int, slot: str = "cuda.shares", shares: int = 10, model: str = "A100") -> tuple[Device, ...]:
    return tuple(Device(f"GPU-{i}", slot, model, shares=shares) for i in range(count))


def session(number: int, *kernels: ResourceSlots, minutes: float | None = None, **rest: Any) -> PendingSession:
    made = PendingSession(
        id=UUID(int=number),
        sequence=number,
        priority=10,
        type=SessionType.BATCH,
        scaling_group="default",
        architecture="x86_64",
        cluster_mode=ClusterMode.MULTI_NODE,
        tenant=tenant(1),
        kernels=tuple(KernelRequest(UUID(int=number * 1000 + i), k) for i, k in enumerate(kernels)),
        pending_since=NOW,
        time_limit=None if minutes is None else timedelta(minutes=minutes),
    )
    return replace(made, **rest)


def started(placement: Placement, asked: PendingSession, at: datetime = NOW) -> PlacedSession:
    """The session as it is when it holds what a plan gave it."""
    return asked.placed(placement.seats, at)


def decide(
    nodes: tuple[NodeView, ...],
    *pending: PendingSession,
    placed: tuple[PlacedSession, ...] = (),
    at: datetime = NOW,
    **group: Any,
) -> Plan:
    return plan(Snapshot(at, nodes, pending, placed, (GroupView("default", **group),)), find_plugins())


def seats(decided: Plan) -> dict[int, list[tuple[str, dict[str, float]]]]:
    """Of each session that starts, by number: the node and the devices of each kernel."""
    return {
        placement.session.int: [
            (seat.node, {device.id: float(device.amount) for device in seat.devices}) for _, seat in placement.seats
        ]
        for placement in decided.placements
    }


def waits(decided: Plan) -> dict[int, Wait]:
    return {wait.session.int: wait for wait in decided.waits}
