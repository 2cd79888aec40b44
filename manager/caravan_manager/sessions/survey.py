"""The SQL that looks at many sessions at once: of each it reads only what the scheduler and the sweep decide by."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import JSON, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, aggregate_order_by

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionStatus, SessionType
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import kernels, sessions
from caravan_manager.sessions.model import STARTING, QueuedSession, SessionState, volume_of

LONGEST_QUEUE = 10_000
"""How many pending sessions one pass looks at."""
MANY = 100_000
"""How many sessions one sweep looks at."""

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
    sessions.c.access_key,
    sessions.c.user_id,
    sessions.c.domain_name,
    sessions.c.project_id,
    sessions.c.status_info,
    sessions.c.status_data,
    sessions.c.status_changed,
    sessions.c.starts_at,
    _HOSTS.label("hosts"),
    _MEMBERS.label("members"),
).where(sessions.c.status == SessionStatus.PENDING.value)


async def list_queue(tx: Transaction, limit: int = LONGEST_QUEUE) -> list[QueuedSession]:
    """Return the pending sessions: high priorities first, then in the order in which they were submitted."""
    wanted = _QUEUED.order_by(sessions.c.priority.desc(), sessions.c.sequence).limit(limit)
    return [_queued(row) for row in await tx.execute(wanted)]


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


def _queued(row: AnyRow) -> QueuedSession:
    return QueuedSession(
        id=row.id,
        sequence=row.sequence,
        priority=row.priority,
        type=SessionType(row.type),
        scaling_group=row.scaling_group,
        architecture=row.architecture,
        cluster_mode=ClusterMode(row.cluster_mode),
        access_key=row.access_key,
        user_id=row.user_id,
        domain_name=row.domain_name,
        project_id=row.project_id,
        volumes=frozenset(volume_of(host) for host in row.hosts),
        kernels=tuple((UUID(kernel), ResourceSlots.parse(slots)) for kernel, slots in row.members or ()),
        status_info=row.status_info,
        status_data=row.status_data,
        status_changed=row.status_changed,
        starts_at=row.starts_at,
    )
