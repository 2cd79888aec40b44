"""Reads the snapshot that a plan is made from: what waits, what is there, and who may have how much of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog

from caravan_common.states import NodeStatus
from caravan_manager.db.engine import Transaction
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.model import Node, ScalingGroup
from caravan_manager.quotas import repository as quotas
from caravan_manager.quotas.model import Quota
from caravan_manager.scheduler.options import group_view
from caravan_manager.scheduler.past import PastReader
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Snapshot
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions import survey
from caravan_manager.sessions.model import avoided_nodes
from caravan_manager.sessions.queue import PendingSession, QueuedSession

log = structlog.get_logger()

Waiting = dict[UUID, QueuedSession]
"""The pending sessions by ID."""


async def read_snapshot(
    tx: Transaction, now: datetime, past: PastReader | None = None, drafted: PendingSession | None = None
) -> tuple[Waiting, Snapshot]:
    """Return the pending sessions and the snapshot; one without a pending session has nothing else in it.

    Without a reader of the past nobody had anything lately. ``drafted`` is a session that was not submitted: in the
    snapshot it is the last of those that wait.
    """
    waiting = {queued.id: queued for queued in await survey.list_queue(tx, now)}
    if not waiting and drafted is None:
        return {}, Snapshot(now, (), ())
    parents = await sessions.list_parents(tx, list(waiting))
    pending = [
        replace(q.session, parents=tuple(parents.get(q.id, ())), avoid=avoided_nodes(q.status_data, now))
        for q in waiting.values()
    ]
    if drafted is not None:
        pending.append(drafted)
    views = tuple(_node(node) for node in await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value))
    groups = tuple(_group(group) for group in await nodes.list_scaling_groups(tx))
    placed = tuple(await survey.list_placed(tx))
    snapshot = Snapshot(
        taken_at=now,
        nodes=views,
        pending=tuple(pending),
        placed=placed,
        groups=groups,
        quotas=tuple(await _quotas(tx, pending)),
        past=() if past is None else await past.read(tx, groups, views, placed, now),
    )
    return waiting, snapshot


async def read_use(tx: Transaction, now: datetime) -> Snapshot:
    """Return the nodes and the sessions that hold them, and nothing that waits."""
    alive = await nodes.list_nodes(tx, status=NodeStatus.ALIVE.value)
    return Snapshot(now, tuple(_node(node) for node in alive), (), tuple(await survey.list_placed(tx)))


def _node(node: Node) -> NodeView:
    return NodeView(
        name=node.name,
        scaling_group=node.scaling_group,
        architecture=node.architecture,
        schedulable=node.schedulable,
        capacity=node.slots,
        devices=node.devices,
        volumes=node.volumes,
    )


async def _quotas(tx: Transaction, pending: Sequence[PendingSession]) -> list[Quota]:
    """Return the quotas of those who have sessions waiting."""
    tenants = {session.tenant for session in pending}
    return [
        *await quotas.list_quotas_of_keypairs(tx, sorted({tenant.access_key for tenant in tenants})),
        *await quotas.list_quotas_of_users(tx, sorted({tenant.user for tenant in tenants})),
        *await quotas.list_quotas_of_tenants(
            tx, sorted({tenant.project for tenant in tenants}), sorted({tenant.domain for tenant in tenants})
        ),
    ]


def _group(group: ScalingGroup) -> GroupView:
    view, problems = group_view(group.name, group.scheduler, group.scheduler_opts)
    for problem in problems:
        log.warning("scaling_group.bad_option", scaling_group=group.name, problem=problem)
    return view
