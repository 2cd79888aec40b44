"""Reads the snapshot that a plan is made from: what waits, what is there, and who may have how much of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import structlog

from caravan_common.errors import InvalidParametersError
from caravan_common.states import NodeStatus
from caravan_manager.db.engine import Transaction
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.model import Node, ScalingGroup
from caravan_manager.quotas import repository as quotas
from caravan_manager.quotas.model import Quota
from caravan_manager.scheduler.past import PastReader
from caravan_manager.scheduler.plugins import DEFAULT_SELECTOR
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    PreemptionMode,
    PreemptionOrder,
    PreemptionRules,
    Snapshot,
    VictimScope,
)
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions import survey
from caravan_manager.sessions.durations import parse_duration
from caravan_manager.sessions.model import avoided_nodes
from caravan_manager.sessions.queue import PendingSession, QueuedSession

log = structlog.get_logger()

Waiting = dict[UUID, QueuedSession]
"""The pending sessions by ID."""
SELECTOR = "agent_selection_strategy"
"""The option of a scaling group that names its selector."""


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
    snapshot = Snapshot(
        taken_at=now,
        nodes=views,
        pending=tuple(pending),
        placed=tuple(await survey.list_placed(tx)),
        groups=groups,
        quotas=tuple(await _quotas(tx, pending)),
        past=() if past is None else await past.read(tx, groups, views, now),
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
    selector = group.scheduler_opts.get(SELECTOR) or DEFAULT_SELECTOR
    return GroupView(
        group.name, group.scheduler, str(selector), _pending_timeout(group), _preemption(group), group.scheduler_opts
    )


def _pending_timeout(group: ScalingGroup) -> timedelta | None:
    """Return how long sessions may wait; None for ever."""
    limit = _duration(group, "pending_timeout", group.scheduler_opts.get("pending_timeout"))
    return limit if limit > timedelta() else None


def _preemption(group: ScalingGroup) -> PreemptionRules | None:
    """Return the rules of `scheduler_opts.preemption`; None unless they are enabled, or when they cannot be read."""
    written = group.scheduler_opts.get("preemption")
    if not isinstance(written, dict):
        return None
    given = cast("dict[str, object]", written)
    if given.get("enabled") is not True:
        return None
    try:
        return PreemptionRules(
            preemptible_priority=int(str(given.get("preemptible_priority", 5))),
            order=PreemptionOrder(str(given.get("order", PreemptionOrder.LEAST_WORK))),
            mode=PreemptionMode(str(given.get("mode", PreemptionMode.TERMINATE))),
            min_runtime=_duration(group, "preemption_min_runtime", given.get("preemption_min_runtime")),
            scope=VictimScope(str(given.get("victim_scope", VictimScope.USER))),
        )
    except ValueError as err:
        log.warning("scaling_group.bad_preemption", scaling_group=group.name, error=str(err))
        return None


def _duration(group: ScalingGroup, option: str, written: object) -> timedelta:
    """Return a setting; one that cannot be read is told and is nothing."""
    try:
        return parse_duration(written or 0)
    except InvalidParametersError as err:
        log.warning("scaling_group.bad_duration", scaling_group=group.name, option=option, error=str(err))
        return timedelta()
