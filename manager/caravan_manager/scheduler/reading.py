"""Reads the snapshot that a plan is made from: what waits, what is there, and who may have how much of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_common.states import NodeStatus, SessionType
from caravan_manager.db.engine import Transaction
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.model import Node, ScalingGroup
from caravan_manager.quotas import repository as quotas
from caravan_manager.quotas.model import Holder, HolderKind
from caravan_manager.scheduler.snapshot import Account, GroupView, KernelRequest, NodeView, SessionRequest, Snapshot
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions import survey
from caravan_manager.sessions.durations import parse_duration
from caravan_manager.sessions.model import Parent, QueuedSession
from caravan_manager.sessions.repository import Holding

log = structlog.get_logger()

Waiting = dict[UUID, QueuedSession]
"""The pending sessions by ID."""


async def read_snapshot(tx: Transaction, now: datetime) -> tuple[Waiting, Snapshot]:
    """Return the pending sessions and the snapshot; one without a pending session has nothing else in it."""
    pending = await survey.list_queue(tx)
    if not pending:
        return {}, Snapshot(now, (), ())
    parents = await sessions.list_parents(tx, [session.id for session in pending])
    holdings = await sessions.list_holdings(tx)
    snapshot = Snapshot(
        taken_at=now,
        nodes=_nodes(await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value), holdings),
        pending=tuple(_request(session, parents.get(session.id, ())) for session in pending),
        groups=tuple(_group(group) for group in await nodes.list_scaling_groups(tx)),
        accounts=await _accounts(tx, pending, holdings),
    )
    return {session.id: session for session in pending}, snapshot


def _nodes(known: Iterable[Node], holdings: Iterable[Holding]) -> tuple[NodeView, ...]:
    taken: defaultdict[str, ResourceSlots] = defaultdict(ResourceSlots)
    for holding in holdings:
        taken[holding.node] += holding.slots
    return tuple(
        NodeView(
            name=node.name,
            scaling_group=node.scaling_group,
            architecture=node.architecture,
            schedulable=node.schedulable,
            volumes=node.volumes,
            capacity=node.slots,
            free=node.slots - taken[node.name] if node.name in taken else node.slots,
        )
        for node in known
    )


async def _accounts(
    tx: Transaction, pending: Sequence[QueuedSession], holdings: Iterable[Holding]
) -> tuple[Account, ...]:
    """Return the accounts of those who have sessions waiting."""
    limits = await quotas.list_quotas_of_keypairs(tx, sorted({s.access_key for s in pending}))
    limits += await quotas.list_quotas_of_users(tx, sorted({s.user_id for s in pending}))
    limits += await quotas.list_quotas_of_tenants(
        tx, sorted({s.project_id for s in pending}), sorted({s.domain_name for s in pending})
    )
    used: defaultdict[Holder, ResourceSlots] = defaultdict(ResourceSlots)
    for holding in holdings:
        for holder in _holders(holding):
            used[holder] += holding.slots
    placed = await sessions.count_placed(tx)
    return tuple(Account(q, used.get(q.holder, ResourceSlots()), placed.get(q.holder, 0)) for q in limits)


def _holders(holding: Holding) -> tuple[Holder, ...]:
    if holding.type is SessionType.SYSTEM:
        return ((HolderKind.SYSTEM_KEYPAIR, holding.access_key),)
    return (
        (HolderKind.KEYPAIR, holding.access_key),
        (HolderKind.USER, str(holding.user_id)),
        (HolderKind.PROJECT, str(holding.project_id)),
        (HolderKind.DOMAIN, holding.domain_name),
    )


def _group(group: ScalingGroup) -> GroupView:
    return GroupView(group.name, _pending_timeout(group))


def _pending_timeout(group: ScalingGroup) -> timedelta | None:
    """Return how long sessions may wait; a setting that cannot be read is told and limits nothing."""
    try:
        limit = parse_duration(group.scheduler_opts.get("pending_timeout") or 0)
    except InvalidParametersError as err:
        log.warning("scaling_group.bad_pending_timeout", scaling_group=group.name, error=str(err))
        return None
    return limit if limit > timedelta() else None


def _request(session: QueuedSession, parents: Sequence[Parent]) -> SessionRequest:
    return SessionRequest(
        id=session.id,
        sequence=session.sequence,
        priority=session.priority,
        type=session.type,
        scaling_group=session.scaling_group,
        architecture=session.architecture,
        volumes=session.volumes,
        cluster_mode=session.cluster_mode,
        access_key=session.access_key,
        user=session.user_id,
        domain=session.domain_name,
        project=session.project_id,
        kernels=tuple(KernelRequest(kernel, slots) for kernel, slots in session.kernels),
        pending_since=session.status_changed,
        starts_at=session.starts_at,
        parents=tuple(parents),
    )
