"""Pick the sessions that start now and their nodes. A pure function of a snapshot: no clock, no database.

Order: priority bands from high to low, first come first served inside a band. A session for which there is no room
now holds back those behind it in its scaling group, so that large ones do not starve; one that can never fit does not.
"""

from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.scheduler.snapshot import (
    KernelRequest,
    NodeView,
    Obstacle,
    Placement,
    Plan,
    SessionRequest,
    Snapshot,
    Wait,
)


def plan(snapshot: Snapshot) -> Plan:
    """Decide one pass."""
    placements: list[Placement] = []
    waits: list[Wait] = []
    in_order = sorted(snapshot.pending, key=lambda s: (s.scaling_group, -s.priority, s.sequence))
    for group, requests in groupby(in_order, key=lambda s: s.scaling_group):
        nodes = [node for node in snapshot.nodes if node.scaling_group == group and node.schedulable]
        placed, waiting = _plan_group(nodes, requests)
        placements += placed
        waits += waiting
    return Plan(tuple(placements), tuple(waits))


def _plan_group(nodes: list[NodeView], requests: Iterable[SessionRequest]) -> tuple[list[Placement], list[Wait]]:
    free = {node.name: node.free for node in nodes}
    placements: list[Placement] = []
    waits: list[Wait] = []
    head: SessionRequest | None = None
    for request in requests:
        if head is not None:
            waits.append(Wait(request.id, Obstacle.BEHIND_THE_HEAD, (str(head.id),)))
            continue
        outcome = _place(request, nodes, free)
        if isinstance(outcome, Placement):
            placements.append(outcome)
            continue
        waits.append(outcome)
        if outcome.obstacle is Obstacle.NO_ROOM:
            head = request
    return placements, waits


def _place(request: SessionRequest, nodes: list[NodeView], free: dict[str, ResourceSlots]) -> Placement | Wait:
    """Take room for the whole session from ``free``, or leave it untouched and say what is in the way."""
    suitable = [node for node in nodes if node.architecture == request.architecture]
    if not suitable:
        obstacle = Obstacle.NO_NODE_OF_ARCHITECTURE if nodes else Obstacle.NO_NODE_OF_GROUP
        return Wait(request.id, obstacle)
    suitable = [node for node in suitable if request.volumes <= node.volumes]
    if not suitable:
        return Wait(request.id, Obstacle.NO_NODE_WITH_VOLUMES, tuple(sorted(request.volumes)))
    parts = _parts(request)
    largest = [node for node in suitable if all(slots.fits_in(node.capacity) for _, slots in parts)]
    if not largest:
        return Wait(request.id, Obstacle.LARGER_THAN_ANY_NODE, tuple(sorted(node.name for node in suitable)))
    left = dict(free)
    chosen: list[tuple[KernelRequest, str]] = []
    for kernels, slots in parts:
        node = _tightest(largest, slots, left)
        if node is None:
            return Wait(request.id, Obstacle.NO_ROOM, tuple(sorted(node.name for node in largest)))
        left[node] = left[node] - slots
        chosen += [(kernel, node) for kernel in kernels]
    free.update(left)
    return Placement(request.id, tuple((kernel.id, node) for kernel, node in chosen))


def _parts(request: SessionRequest) -> list[tuple[tuple[KernelRequest, ...], ResourceSlots]]:
    """Return what must be placed together: the sum on a single node, or each kernel for itself."""
    if request.cluster_mode is ClusterMode.SINGLE_NODE:
        return [(request.kernels, request.slots)]
    return [((kernel,), kernel.slots) for kernel in request.kernels]


def _tightest(nodes: list[NodeView], slots: ResourceSlots, free: dict[str, ResourceSlots]) -> str | None:
    """Return the node that keeps the least cpu and memory free, by name where equal; None when nothing has room."""
    fitting = [node.name for node in nodes if slots.fits_in(free[node.name])]
    return min(fitting, key=lambda name: (_remaining(free[name] - slots), name), default=None)


def _remaining(free: ResourceSlots) -> tuple[Decimal, Decimal]:
    return (free.get("cpu", Decimal(0)), free.get("mem", Decimal(0)))
