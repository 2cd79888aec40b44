"""Pick the sessions that start now and their nodes. A pure function of a snapshot: no clock, no database.

Order: priority bands from high to low, first come first served inside a band. A session for which there is no room
now holds back those behind it in its scaling group, so that large ones do not starve. One that can never fit does not,
nor does one that waits for its time, for other sessions or for a quota.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.scheduler.snapshot import (
    Cancellation,
    EndReason,
    GroupView,
    KernelRequest,
    NodeView,
    Obstacle,
    Placement,
    Plan,
    Reason,
    SessionRequest,
    Snapshot,
    Wait,
)
from caravan_manager.sessions.model import Parent


def plan(snapshot: Snapshot) -> Plan:
    """Decide one pass."""
    ledger = Ledger(snapshot.nodes, snapshot.accounts)
    rules = {group.name: group for group in snapshot.groups}
    cancellations = {
        end.session: end
        for request in snapshot.pending
        if (end := _end(request, rules.get(request.scaling_group), snapshot.taken_at)) is not None
    }
    placements: list[Placement] = []
    waits: list[Wait] = []
    live = [request for request in snapshot.pending if request.id not in cancellations]
    in_order = sorted(live, key=lambda s: (s.scaling_group, -s.priority, s.sequence))
    for group, requests in groupby(in_order, key=lambda s: s.scaling_group):
        nodes = [node for node in snapshot.nodes if node.scaling_group == group and node.schedulable]
        placed, waiting = _plan_group(nodes, requests, ledger, snapshot.taken_at)
        placements += placed
        waits += waiting
    ends = tuple(sorted(cancellations.values(), key=lambda end: end.session))
    return Plan(tuple(placements), tuple(waits), ends)


def _end(request: SessionRequest, group: GroupView | None, now: datetime) -> Cancellation | None:
    """Say whether a session can never start, or has waited for too long since it came or since its time came."""
    if failed := [parent for parent in request.parents if parent.has_failed]:
        return Cancellation(request.id, EndReason.DEPENDENCY_FAILED, _named(failed))
    if group is None or group.pending_timeout is None:
        return None
    began = max(request.pending_since, request.starts_at or request.pending_since)
    if now - began < group.pending_timeout:
        return None
    return Cancellation(request.id, EndReason.PENDING_TIMEOUT, (group.name,))


def _named(parents: Iterable[Parent]) -> tuple[str, ...]:
    return tuple(f"{parent.name} ({parent.id})" for parent in sorted(parents, key=lambda p: (p.name, p.id)))


def _plan_group(
    nodes: list[NodeView], requests: Iterable[SessionRequest], ledger: Ledger, now: datetime
) -> tuple[list[Placement], list[Wait]]:
    placements: list[Placement] = []
    waits: list[Wait] = []
    head: SessionRequest | None = None
    for request in requests:
        if failed := _failed_checks(request, ledger, now):
            waits.append(Wait(request.id, failed))
            continue
        if head is not None:
            waits.append(Wait(request.id, (Reason(Obstacle.BEHIND_THE_HEAD, (str(head.id),)),)))
            continue
        outcome = _place(request, nodes, ledger)
        if isinstance(outcome, Placement):
            placements.append(outcome)
            continue
        waits.append(Wait(request.id, (outcome,)))
        if outcome.obstacle is Obstacle.NO_ROOM:
            head = request
    return placements, waits


def _failed_checks(request: SessionRequest, ledger: Ledger, now: datetime) -> tuple[Reason, ...]:
    """Return what keeps the session back whatever the nodes have left, in the order of CHECKS."""
    failed: list[Reason] = []
    if request.starts_at is not None and now < request.starts_at:
        failed.append(Reason(Obstacle.NOT_YET, (request.starts_at.isoformat(),)))
    if unfinished := [parent for parent in request.parents if not parent.has_succeeded]:
        failed.append(Reason(Obstacle.DEPENDENCIES, _named(unfinished)))
    return (*failed, *ledger.exceeded(request))


def _place(request: SessionRequest, nodes: list[NodeView], ledger: Ledger) -> Placement | Reason:
    """Take room for the whole session from the ledger, or leave it untouched and say what is in the way."""
    suitable = [node for node in nodes if node.architecture == request.architecture]
    if not suitable:
        return Reason(Obstacle.NO_NODE_OF_ARCHITECTURE if nodes else Obstacle.NO_NODE_OF_GROUP)
    suitable = [node for node in suitable if request.volumes <= node.volumes]
    if not suitable:
        return Reason(Obstacle.NO_NODE_WITH_VOLUMES, tuple(sorted(request.volumes)))
    parts = _parts(request)
    largest = [node for node in suitable if all(slots.fits_in(node.capacity) for _, slots in parts)]
    if not largest:
        return Reason(Obstacle.LARGER_THAN_ANY_NODE, tuple(sorted(node.name for node in suitable)))
    left = {node.name: ledger.free[node.name] for node in largest}
    chosen: list[tuple[KernelRequest, str]] = []
    for kernels, slots in parts:
        node = _tightest(largest, slots, left)
        if node is None:
            return Reason(Obstacle.NO_ROOM, tuple(sorted(node.name for node in largest)))
        left[node] = left[node] - slots
        chosen += [(kernel, node) for kernel in kernels]
    ledger.take(request, left)
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
