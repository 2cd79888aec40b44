"""The SQL that looks at many sessions at once: of each it reads only what the scheduler and the sweep decide by."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import log
from uuid import UUID

from sqlalchemy import JSON, ColumnElement, Double, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, aggregate_order_by

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, NodeStatus, SessionStatus, SessionType
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import kernels, nodes, session_dependencies, sessions, users
from caravan_manager.quotas.model import Tenant
from caravan_manager.sessions.illness import WITH_CONTAINERS, Holder, illnesses
from caravan_manager.sessions.model import (
    DEAD,
    DEVICES,
    MODELS,
    ON_NODES,
    PREEMPTED,
    STARTING,
    SUBMITTED,
    VICTIMS,
    HeldDevice,
    SessionState,
    models_in,
    volume_of,
)
from caravan_manager.sessions.queue import (
    LONGEST_START,
    Named,
    PastUse,
    PendingSession,
    PlacedKernel,
    PlacedSession,
    QueuedSession,
    kernel_requests,
)

LONGEST_QUEUE = 10_000
"""How many pending sessions one pass looks at."""
ROUNDS = 100
"""So many times it goes around among the users."""
MANY = 100_000
"""How many sessions one sweep, and one pass, looks at."""
HALF_LIVES = 10
"""After so many half-lives a thousandth is left of what was had."""

_HOSTS = func.jsonb_path_query_array(sessions.c.mounts, literal("$[*].host", JSONPATH), type_=JSONB)
_MEMBER = func.json_build_array(kernels.c.id, kernels.c.slots)
_MEMBERS = (
    select(func.json_agg(aggregate_order_by(_MEMBER, kernels.c.cluster_role, kernels.c.cluster_idx), type_=JSON))
    .where(kernels.c.session_id == sessions.c.id)
    .correlate(sessions)
    .scalar_subquery()
)
_QUEUED = select(
    sessions.c.id,
    sessions.c.sequence,
    sessions.c.priority,
    sessions.c.type,
    sessions.c.scaling_group,
    sessions.c.architecture,
    sessions.c.cluster_mode,
    sessions.c.designated,
    sessions.c.resource_opts[MODELS].astext.label("models"),
    sessions.c.access_key,
    sessions.c.user_id,
    sessions.c.domain_name,
    sessions.c.project_id,
    sessions.c.status_info,
    sessions.c.status_data,
    sessions.c.status_changed,
    sessions.c.starts_at,
    sessions.c.batch_timeout_seconds,
    sessions.c.endpoint_id,
    _HOSTS.label("hosts"),
    _MEMBERS.label("members"),
).where(sessions.c.status == SessionStatus.PENDING.value)
_SEAT = func.json_build_array(kernels.c.node, kernels.c.slots, kernels.c.devices)
_SEATS = (
    select(func.json_agg(aggregate_order_by(_SEAT, kernels.c.cluster_role, kernels.c.cluster_idx), type_=JSON))
    .where(
        kernels.c.session_id == sessions.c.id,
        kernels.c.node.is_not(None),
        kernels.c.status.not_in([status.value for status in DEAD]),
    )
    .correlate(sessions)
    .scalar_subquery()
)
_PLACED = (
    select(
        sessions.c.id,
        sessions.c.priority,
        sessions.c.type,
        sessions.c.scaling_group,
        sessions.c.access_key,
        sessions.c.user_id,
        sessions.c.domain_name,
        sessions.c.project_id,
        sessions.c.status,
        sessions.c.attempt,
        sessions.c.cluster_size,
        sessions.c.scheduled_at,
        sessions.c.deadline,
        sessions.c.batch_timeout_seconds,
        sessions.c.status_data[PREEMPTED]["until"].astext.label("goes_on_until"),
        sessions.c.endpoint_id,
        _SEATS.label("members"),
    )
    .where(sessions.c.status.in_([status.value for status in ON_NODES]))
    .order_by(sessions.c.sequence)
)

_HOLDERS = (
    select(
        kernels.c.session_id,
        kernels.c.id,
        kernels.c.node,
        kernels.c.devices,
        sessions.c.status_data[DEVICES].label("told"),
    )
    .join_from(sessions, kernels)
    .where(kernels.c.node.is_not(None), func.jsonb_array_length(kernels.c.devices) > 0)
    .order_by(sessions.c.sequence)
)


async def list_queue(tx: Transaction, now: datetime, limit: int = LONGEST_QUEUE) -> list[QueuedSession]:
    """Return the pending sessions: high priorities first, then in the order in which they were submitted.

    Of more than ``limit`` those are left out first that wait for their time or for other sessions. Of the rest the
    first hundredth that is one user's comes before the second of anybody's: no endless list hides what others have.
    """
    parents = sessions.alias("parents")
    unfinished = (
        select(session_dependencies.c.session_id)
        .join(parents, parents.c.id == session_dependencies.c.depends_on)
        .where(session_dependencies.c.session_id == sessions.c.id, parents.c.status.not_in([s.value for s in DEAD]))
        .exists()
    )
    sleeps = or_(func.coalesce(sessions.c.starts_at > now, false()), unfinished)
    order = (sessions.c.priority.desc(), sessions.c.sequence)
    place = func.row_number().over(partition_by=(sleeps, sessions.c.user_id), order_by=order)
    looked_at = (
        select(sessions.c.id)
        .where(sessions.c.status == SessionStatus.PENDING.value)
        .order_by(sleeps, (place - 1) / max(1, limit // ROUNDS), *order)
        .limit(limit)
    )
    return [_queued(row) for row in await tx.execute(_QUEUED.where(sessions.c.id.in_(looked_at)).order_by(*order))]


async def list_placed(tx: Transaction, limit: int = MANY) -> list[PlacedSession]:
    """Return the sessions that hold nodes, in the order in which they were submitted."""
    return [_placed(row) for row in await tx.execute(_PLACED.limit(limit))]


async def list_past(tx: Transaction, scaling_group: str, half_life: timedelta, now: datetime) -> list[PastUse]:
    """Return what tenants had of a scaling group, decayed: what lies HALF_LIVES back counts nothing any more."""
    seconds = half_life.total_seconds()

    def weight(moment: ColumnElement[datetime]) -> ColumnElement[float]:
        return func.power(2.0, -func.extract("epoch", literal(now) - moment) / seconds)

    until = func.least(func.coalesce(sessions.c.terminated_at, literal(now)), literal(now))
    held = (weight(until) - weight(sessions.c.scheduled_at)) * (seconds / log(2))
    slot = func.jsonb_each_text(sessions.c.requested_slots).table_valued("key", "value").lateral()
    by = (sessions.c.user_id, sessions.c.project_id, sessions.c.domain_name, slot.c.key)
    wanted = (
        select(*by, func.sum(slot.c.value.cast(Double) * held).label("had"))
        .select_from(sessions.join(slot, true()))
        .where(
            sessions.c.scaling_group == scaling_group,
            sessions.c.scheduled_at.is_not(None),
            until > literal(now - HALF_LIVES * half_life),
        )
        .group_by(*by)
        .limit(MANY)
    )
    return [PastUse(row.user_id, row.project_id, row.domain_name, row.key, row.had) for row in await tx.execute(wanted)]


async def list_states(tx: Transaction, statuses: Sequence[SessionStatus], limit: int = MANY) -> list[SessionState]:
    """Return where the sessions in any of the statuses are, in the order in which they were submitted."""
    wanted = (
        select(sessions.c.id, sessions.c.status, sessions.c.status_changed)
        .where(sessions.c.status.in_([status.value for status in statuses]))
        .order_by(sessions.c.sequence)
        .limit(limit)
    )
    return [SessionState(row.id, SessionStatus(row.status), row.status_changed) for row in await tx.execute(wanted)]


async def list_awaited(tx: Transaction, limit: int = MANY) -> dict[UUID, UUID]:
    """Return the session of each kernel that is to start and has not been told to run."""
    starting = [status.value for status in STARTING]
    wanted = (
        select(kernels.c.id, kernels.c.session_id)
        .join_from(sessions, kernels)
        .where(sessions.c.status.in_(starting), kernels.c.status.in_(starting))
        .limit(limit)
    )
    return {row.id: row.session_id for row in await tx.execute(wanted)}


async def list_stranded(tx: Transaction, limit: int = MANY) -> list[tuple[UUID, UUID]]:
    """Return the session and the ID of each kernel of a gang that waits for the others on a node that is LOST."""
    waiting = [status.value for status in SUBMITTED]
    wanted = (
        select(kernels.c.session_id, kernels.c.id)
        .join_from(sessions, kernels)
        .join(nodes, nodes.c.name == kernels.c.node)
        .where(
            sessions.c.status.in_(waiting),
            sessions.c.cluster_size > 1,
            kernels.c.status.not_in([status.value for status in DEAD]),
            nodes.c.status == NodeStatus.LOST.value,
        )
        .limit(limit)
    )
    return [(row.session_id, row.id) for row in await tx.execute(wanted)]


async def list_holders(tx: Transaction, node: str | None = None, limit: int = MANY) -> list[Holder]:
    """Return the kernels with containers that hold devices: of one node, or of all."""
    wanted = _HOLDERS.where(
        sessions.c.status.in_([status.value for status in WITH_CONTAINERS]),
        kernels.c.status.not_in([status.value for status in DEAD]),
    ).limit(limit)
    if node is not None:
        wanted = wanted.where(kernels.c.node == node)
    return [_holder(row) for row in await tx.execute(wanted)]


async def list_to_be_placed(tx: Transaction, limit: int = MANY) -> list[Holder]:
    """Return the kernels that hold devices, whose job Nomad has, and of which no container was told."""
    waiting = [status.value for status in SUBMITTED]
    wanted = _HOLDERS.where(sessions.c.status.in_(waiting), kernels.c.status.in_(waiting)).limit(limit)
    return [_holder(row) for row in await tx.execute(wanted)]


def _holder(row: AnyRow) -> Holder:
    told = illnesses({DEVICES: row.told or {}})
    return Holder(
        session=row.session_id,
        kernel=row.id,
        node=row.node,
        devices=tuple(HeldDevice.from_json(device) for device in row.devices),
        told=frozenset((slot, device) for kernel, slot, device in told if kernel == row.id),
    )


async def list_named(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, Named]:
    """Return what sessions are called and whose they are."""
    wanted = (
        select(sessions.c.id, sessions.c.name, sessions.c.user_id, sessions.c.domain_name, users.c.email)
        .join_from(sessions, users, sessions.c.user_id == users.c.id)
        .where(sessions.c.id.in_(ids))
    )
    return {row.id: Named(row.name, row.user_id, row.domain_name, row.email) for row in await tx.execute(wanted)}


async def list_ids_named(tx: Transaction, name: str, limit: int = 10) -> list[UUID]:
    """Return the live sessions of a name, whoever's they are."""
    is_live = sessions.c.status.not_in([status.value for status in DEAD])
    found = select(sessions.c.id).where(sessions.c.name == name, is_live).order_by(sessions.c.sequence)
    return [row.id for row in await tx.execute(found.limit(limit))]


def _queued(row: AnyRow) -> QueuedSession:
    limit, promise = row.batch_timeout_seconds, row.status_data.get(VICTIMS)
    session = PendingSession(
        id=row.id,
        sequence=row.sequence,
        priority=row.priority,
        type=SessionType(row.type),
        scaling_group=row.scaling_group,
        architecture=row.architecture,
        cluster_mode=ClusterMode(row.cluster_mode),
        tenant=_tenant(row),
        kernels=kernel_requests(
            [(UUID(id_), ResourceSlots.stored(slots)) for id_, slots in row.members or ()], row.designated
        ),
        pending_since=row.status_changed,
        volumes=frozenset(volume_of(host) for host in row.hosts),
        nodes=frozenset(row.designated),
        models=frozenset(models_in(row.models)),
        starts_at=row.starts_at,
        time_limit=None if limit is None else timedelta(seconds=limit),
        first_until=None if promise is None else datetime.fromisoformat(promise["until"]),
        endpoint=row.endpoint_id,
    )
    return QueuedSession(session, row.status_info, row.status_data)


def _placed(row: AnyRow) -> PlacedSession:
    limit, is_ending = row.batch_timeout_seconds, row.status == SessionStatus.TERMINATING.value
    latest = None if limit is None else row.scheduled_at + timedelta(seconds=limit) + LONGEST_START
    goes_on_until = None if row.goes_on_until is None else datetime.fromisoformat(row.goes_on_until)
    lost_a_rank = row.status == SessionStatus.SCHEDULED.value and len(row.members or ()) < row.cluster_size
    return PlacedSession(
        id=row.id,
        priority=row.priority,
        type=SessionType(row.type),
        scaling_group=row.scaling_group,
        tenant=_tenant(row),
        placed_at=row.scheduled_at,
        kernels=tuple(
            PlacedKernel(node, ResourceSlots.stored(slots), tuple(HeldDevice.from_json(device) for device in devices))
            for node, slots, devices in row.members or ()
        ),
        ends_at=goes_on_until if is_ending else row.deadline or latest,
        is_ending=is_ending,
        is_unsettled=row.status == SessionStatus.RESTARTING.value or lost_a_rank,
        attempt=row.attempt,
        endpoint=row.endpoint_id,
    )


def _tenant(row: AnyRow) -> Tenant:
    return Tenant(row.access_key, row.user_id, row.project_id, row.domain_name)
