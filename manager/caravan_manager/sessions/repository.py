"""The SQL of sessions and kernels. Each function takes the open transaction and returns values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Numeric,
    ScalarSelect,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from caravan_common.errors import ConflictError
from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_manager.db.choice import (
    EVERYTHING,
    Choice,
    Field,
    Fields,
    identity,
    moment,
    number,
    ordering,
    text,
    word,
)
from caravan_manager.db.choice import conditions as chosen_by
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.reading import Query, Reader, ReadRow, parameter
from caravan_manager.db.tables import kernels, projects, session_dependencies, sessions, users
from caravan_manager.quotas.model import Holder, Tenant
from caravan_manager.sessions.model import (
    DEAD,
    HeldDevice,
    Kernel,
    Parent,
    Session,
    SessionMount,
    SessionNotFoundError,
)
from caravan_manager.sessions.ports import ServicePort
from caravan_manager.sessions.queue import QueuedSession

LIVE = sessions.c.status.not_in(
    bindparam(None, sorted(status.value for status in DEAD), expanding=True, literal_execute=True)
)
"""Literal, so that a prepared statement's plan may use the indexes of live sessions."""


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list; None means any. ``statuses`` are values of SessionStatus."""

    session: UUID | None = None
    ids: Sequence[UUID] | None = None
    access_key: str | None = None
    domain: str | None = None
    project: UUID | None = None
    statuses: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions with what people want to see of their owners."""

    sessions: list[Session]
    emails: dict[UUID, str]
    full_names: dict[UUID, str]
    project_names: dict[UUID, str]
    total: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What the live kernels of one keypair, project and type of session take of one node."""

    node: str
    tenant: Tenant
    type: SessionType
    slots: ResourceSlots

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whose quotas it counts against."""
        return self.tenant.holders(self.type)


def _ids(ids: Sequence[UUID]) -> ColumnElement[Any]:
    """Return many IDs as one parameter: a statement takes no more than 32,767."""
    return literal(list(ids), ARRAY(postgresql.UUID(as_uuid=True)))


def _kernel(row: AnyRow) -> Kernel:
    return Kernel(
        id=row.id,
        session_id=row.session_id,
        cluster_role=row.cluster_role,
        cluster_idx=row.cluster_idx,
        slots=ResourceSlots.stored(row.slots),
        status=SessionStatus(row.status),
        status_changed=row.status_changed,
        created_at=row.created_at,
        node=row.node,
        devices=tuple(HeldDevice.from_json(device) for device in row.devices),
        container_id=row.container_id,
        exit_code=row.exit_code,
        terminated_at=row.terminated_at,
    )


def _session(row: AnyRow, members: Sequence[Kernel]) -> Session:
    return Session(
        id=row.id,
        name=row.name,
        type=SessionType(row.type),
        priority=row.priority,
        tag=row.tag,
        domain_name=row.domain_name,
        project_id=row.project_id,
        user_id=row.user_id,
        access_key=row.access_key,
        scaling_group=row.scaling_group,
        image=row.image,
        registry=row.registry,
        architecture=row.architecture,
        cluster_mode=ClusterMode(row.cluster_mode),
        requested_slots=ResourceSlots.stored(row.requested_slots),
        resource_opts=row.resource_opts,
        environ=row.environ,
        mounts=tuple(SessionMount.from_json(mount) for mount in row.mounts),
        startup_command=row.startup_command,
        bootstrap_script=row.bootstrap_script,
        callback_url=row.callback_url,
        status=SessionStatus(row.status),
        status_info=row.status_info,
        status_data=row.status_data,
        status_changed=row.status_changed,
        status_history=row.status_history,
        result=SessionResult(row.result),
        created_at=row.created_at,
        scheduled_at=row.scheduled_at,
        terminated_at=row.terminated_at,
        kernels=tuple(members),
        service_ports=tuple(ServicePort.from_json(port) for port in row.service_ports),
        starts_at=row.starts_at,
        batch_timeout=None if row.batch_timeout_seconds is None else timedelta(seconds=row.batch_timeout_seconds),
        designated=tuple(row.designated),
        deadline=row.deadline,
        attempt=row.attempt,
        endpoint=row.endpoint_id,
    )


async def _with_kernels(tx: Transaction, rows: Sequence[AnyRow]) -> list[Session]:
    wanted = (
        select(kernels)
        .where(kernels.c.session_id == any_(_ids([row.id for row in rows])))
        .order_by(kernels.c.cluster_role, kernels.c.cluster_idx)
    )
    members: dict[UUID, list[Kernel]] = {row.id: [] for row in rows}
    if rows:
        for row in await tx.execute(wanted):
            members[row.session_id].append(_kernel(row))
    return [_session(row, members[row.id]) for row in rows]


_KERNELS = (
    select(
        func.json_agg(
            aggregate_order_by(func.to_json(kernels.table_valued()), kernels.c.cluster_role, kernels.c.cluster_idx)
        )
    )
    .where(kernels.c.session_id == sessions.c.id)
    .correlate(sessions)
    .scalar_subquery()
    .label("kernels")
)
"""The kernels of a session as JSON, so that one query reads both."""
_MOMENTS = [column.name for column in kernels.c if isinstance(column.type, DateTime)]
_IDS = [column.name for column in kernels.c if isinstance(column.type, Uuid)]


def _whole(row: ReadRow) -> Session:
    """Return the session of a row that has its kernels with it."""
    return _session(row, [_kernel(_kernel_row(raw)) for raw in row.kernels or ()])


def _kernel_row(raw: dict[str, Any]) -> ReadRow:
    for name in _MOMENTS:
        raw[name] = raw[name] and datetime.fromisoformat(raw[name])
    for name in _IDS:
        raw[name] = raw[name] and UUID(raw[name])
    return SimpleNamespace(**raw)


def _session_values(session: Session) -> dict[str, Any]:
    return {
        "name": session.name,
        "priority": session.priority,
        "status": session.status.value,
        "status_info": session.status_info,
        "status_data": session.status_data,
        "status_changed": session.status_changed,
        "status_history": session.status_history,
        "result": session.result.value,
        "scheduled_at": session.scheduled_at,
        "terminated_at": session.terminated_at,
        "deadline": session.deadline,
        "attempt": session.attempt,
    }


def _kernel_values(kernel: Kernel) -> dict[str, Any]:
    return {
        "status": kernel.status.value,
        "status_changed": kernel.status_changed,
        "node": kernel.node,
        "devices": [device.to_json() for device in kernel.devices],
        "container_id": kernel.container_id,
        "exit_code": kernel.exit_code,
        "terminated_at": kernel.terminated_at,
    }


async def add(tx: Transaction, session: Session, depends_on: Sequence[UUID] = ()) -> None:
    """Insert a new session with its kernels and what it waits for.

    The live name's unique index raises IntegrityError.
    """
    fixed = {
        "id": session.id,
        "type": session.type.value,
        "tag": session.tag,
        "domain_name": session.domain_name,
        "project_id": session.project_id,
        "user_id": session.user_id,
        "access_key": session.access_key,
        "scaling_group": session.scaling_group,
        "image": session.image,
        "registry": session.registry,
        "architecture": session.architecture,
        "cluster_mode": session.cluster_mode.value,
        "cluster_size": len(session.kernels),
        "designated": session.designated,
        "requested_slots": session.requested_slots.to_json(),
        "resource_opts": session.resource_opts,
        "environ": session.environ,
        "mounts": [mount.to_json() for mount in session.mounts],
        "startup_command": session.startup_command,
        "bootstrap_script": session.bootstrap_script,
        "service_ports": [port.to_json() for port in session.service_ports],
        "callback_url": session.callback_url,
        "created_at": session.created_at,
        "starts_at": session.starts_at,
        "batch_timeout_seconds": None if session.batch_timeout is None else session.batch_timeout.total_seconds(),
        "endpoint_id": session.endpoint,
    }
    await tx.execute(sessions.insert().values(**fixed, **_session_values(session)))
    await _add_kernels(tx, session.kernels)
    if depends_on:
        edges = [{"session_id": session.id, "depends_on": parent} for parent in depends_on]
        await tx.execute(session_dependencies.insert(), edges)


async def _add_kernels(tx: Transaction, members: Sequence[Kernel]) -> None:
    rows = [
        {
            "id": kernel.id,
            "session_id": kernel.session_id,
            "cluster_role": kernel.cluster_role,
            "cluster_idx": kernel.cluster_idx,
            "cluster_hostname": kernel.cluster_hostname,
            "slots": kernel.slots.to_json(),
            "created_at": kernel.created_at,
            **_kernel_values(kernel),
        }
        for kernel in members
    ]
    await tx.execute(kernels.insert(), rows)


async def save(tx: Transaction, before: Session, after: Session) -> None:
    """Record a move, guarded by the status that was read. Raises ConflictError when somebody else moved first.

    A new attempt has new kernels: the old ones' rows go.
    """
    if after == before:
        return
    guard = (sessions.c.id == before.id) & (sessions.c.status == before.status.value)
    done = await tx.execute(sessions.update().where(guard).values(**_session_values(after)))
    if done.rowcount != 1:
        raise ConflictError(f"session {before.name} changed meanwhile; try again", id=str(before.id))
    if after.attempt != before.attempt:
        await tx.execute(kernels.delete().where(kernels.c.session_id == before.id))
        await _add_kernels(tx, after.kernels)
        return
    for was, now in zip(before.kernels, after.kernels, strict=True):
        if was != now:
            await tx.execute(kernels.update().where(kernels.c.id == now.id).values(**_kernel_values(now)))


async def save_waits(tx: Transaction, waiting: Sequence[QueuedSession]) -> None:
    """Record why sessions wait, with one statement; those that left the queue meanwhile stay as they are."""
    statement = (
        sessions.update()
        .where(sessions.c.id == bindparam("waiting"), sessions.c.status == SessionStatus.PENDING.value)
        .values(status_info=bindparam("info"), status_data=bindparam("data"))
    )
    rows = [{"waiting": s.id, "info": s.status_info, "data": s.status_data} for s in waiting]
    await tx.execute(statement, rows)


async def get(tx: Transaction, session_id: UUID) -> Session:
    """Return a session. Raises SessionNotFoundError."""
    rows = (await tx.execute(select(sessions).where(sessions.c.id == session_id))).all()
    if not rows:
        raise SessionNotFoundError(f"Session (id={session_id}) does not exist.")
    return (await _with_kernels(tx, rows))[0]


async def get_for_update(tx: Transaction, session_id: UUID) -> Session:
    """Return a session and lock its row until the transaction ends. Raises SessionNotFoundError."""
    rows = (await tx.execute(select(sessions).where(sessions.c.id == session_id).with_for_update())).all()
    if not rows:
        raise SessionNotFoundError(f"Session (id={session_id}) does not exist.")
    return (await _with_kernels(tx, rows))[0]


def _matching() -> Query:
    by_id, name = parameter("by_id", Uuid()), parameter("name", Text())
    limit = parameter("limit", Integer())
    own = sessions.c.access_key == parameter("access_key", Text())
    named, begins = sessions.c.name == name, func.starts_with(sessions.c.name, name)
    latest = sessions.c.created_at.desc()
    # Each by an index of its own: a keypair may have had any number of sessions, and all of one name.
    meant = union_all(
        select(sessions.c.id).where(sessions.c.id == by_id, or_(own, sessions.c.id == parameter("anybodys", Uuid()))),
        select(sessions.c.id).where(LIVE, own, named),
        select(sessions.c.id).where(own, named).order_by(latest).limit(1),
        select(sessions.c.id).where(LIVE, own, begins).order_by(latest).limit(limit),
    )
    best = case((sessions.c.id == by_id, 0), (and_(LIVE, named), 1), (named, 2), else_=3)
    wanted = select(sessions, _KERNELS).where(sessions.c.id.in_(meant)).order_by(best, latest)
    return Query(wanted.limit(limit))


_MATCHING = _matching()


async def find_matching(
    read: Reader, text: str, access_key: str, *, anybody: bool = False, limit: int = 100
) -> list[Session]:
    """Return the sessions that a user's word may mean: an ID, a name, or the beginning of a live session's name.

    The best kind of match wins: ID, then live name, then a dead session's name (latest first), then live prefix.
    A name is always among the sessions of ``access_key``; ``anybody`` finds other people's by their ID.
    """
    by_id = _as_uuid(text)
    rows = await read.rows(
        _MATCHING, by_id=by_id, name=text, access_key=access_key, anybodys=by_id if anybody else None, limit=limit
    )
    return _best([_whole(row) for row in rows], text, by_id)


def _best(found: list[Session], text: str, by_id: UUID | None) -> list[Session]:
    exact = [s for s in found if s.id == by_id] or [s for s in found if s.name == text and not s.is_dead]
    dead = [s for s in found if s.name == text]
    return exact or dead[:1] or found


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def find_kernel(tx: Transaction, text: str) -> Kernel | None:
    """Return the kernel of this ID, whoever's it is; None when the text is no kernel's ID."""
    kernel_id = _as_uuid(text)
    if kernel_id is None:
        return None
    row = (await tx.execute(select(kernels).where(kernels.c.id == kernel_id))).one_or_none()
    return None if row is None else _kernel(row)


async def find_live_by_name(tx: Transaction, access_key: str, name: str) -> Session | None:
    """Return the caller's live session of that name, or None."""
    wanted = select(sessions).where(LIVE, sessions.c.access_key == access_key, sessions.c.name == name)
    found = await _with_kernels(tx, (await tx.execute(wanted)).all())
    return found[0] if found else None


def _on_node(named: ColumnElement[bool]) -> ColumnElement[bool]:
    """Choose the sessions that have a kernel on a node for whose name the condition holds."""
    return sessions.c.id.in_(select(kernels.c.session_id).where(named))


_NODES = Field(kernels.c.node, text(kernels.c.node).read, _on_node)
FIELDS: Fields = {
    "id": identity(sessions.c.id),
    "type": word(sessions.c.type, SessionType),
    "name": text(sessions.c.name),
    "priority": number(sessions.c.priority),
    "tag": text(sessions.c.tag),
    "image": text(sessions.c.image),
    "agent_ids": _NODES,
    "agent_id": _NODES,
    "agents": _NODES,
    "domain_name": text(sessions.c.domain_name),
    "group_name": text(projects.c.name),
    "user_email": text(users.c.email),
    "user_id": identity(sessions.c.user_id),
    "full_name": text(users.c.full_name),
    "access_key": text(sessions.c.access_key),
    "scaling_group": text(sessions.c.scaling_group),
    "cluster_mode": word(sessions.c.cluster_mode, ClusterMode),
    "cluster_size": number(sessions.c.cluster_size),
    "status": word(sessions.c.status, SessionStatus),
    "status_info": text(sessions.c.status_info),
    "result": word(sessions.c.result, SessionResult),
    "created_at": moment(sessions.c.created_at),
    "terminated_at": moment(sessions.c.terminated_at),
    "scheduled_at": moment(sessions.c.scheduled_at),
    "startup_command": text(sessions.c.startup_command),
}
"""What lists of sessions can be filtered and ordered by."""


_FILTERS: dict[str, ColumnElement[bool]] = {
    "session": sessions.c.id == parameter("session", Uuid()),
    "ids": sessions.c.id == any_(parameter("ids", ARRAY(Uuid))),
    "access_key": sessions.c.access_key == parameter("access_key", Text()),
    "domain": sessions.c.domain_name == parameter("domain", Text()),
    "project": sessions.c.project_id == parameter("project", Uuid()),
    "statuses": sessions.c.status == any_(parameter("statuses", ARRAY(Text))),
}


@lru_cache(maxsize=256)
def _pages(filters: tuple[str, ...], choice: Choice) -> tuple[Query, Query]:
    """Return the query of a page of the sessions so chosen, and that of their number."""
    conditions = [*chosen_by(choice, FIELDS), *(_FILTERS[name] for name in filters)]
    owned = sessions.join(users, sessions.c.user_id == users.c.id).join(
        projects, sessions.c.project_id == projects.c.id
    )
    counted = select(func.count().label("total")).select_from(sessions if choice.filter is None else owned)
    chosen = (
        select(sessions, _KERNELS, users.c.email, users.c.full_name, projects.c.name.label("project_name"))
        .select_from(owned)
        .where(*conditions)
    )
    chosen = chosen.order_by(*ordering(choice, FIELDS, sessions.c.created_at.desc(), sessions.c.id))
    page = chosen.limit(parameter("limit", Integer())).offset(parameter("offset", Integer()))
    return Query(page), Query(counted.where(*conditions))


async def list_page(
    read: Reader, wanted: SessionFilter, limit: int, offset: int, choice: Choice = EVERYTHING
) -> SessionPage:
    """Return a page of sessions, newest first unless chosen otherwise, with their owners' and projects' names."""
    given = {name: value for name in _FILTERS if (value := getattr(wanted, name)) is not None}
    page, total = _pages(tuple(given), choice)
    rows = await read.rows(page, **given, limit=limit, offset=offset)
    return SessionPage(
        sessions=[_whole(row) for row in rows],
        emails={row.id: row.email for row in rows},
        full_names={row.id: row.full_name for row in rows},
        project_names={row.id: row.project_name for row in rows},
        total=(await read.rows(total, **given))[0].total,
    )


async def list_by_status(tx: Transaction, statuses: Sequence[SessionStatus], limit: int = 10_000) -> list[Session]:
    """Return the sessions in any of the statuses, in the order in which they were submitted.

    Whole rows, up to a MiB of text each: for statuses that few sessions are in. See :mod:`.survey` for the others.
    """
    wanted = (
        select(sessions)
        .where(sessions.c.status.in_([status.value for status in statuses]))
        .order_by(sessions.c.sequence)
        .limit(limit)
    )
    return await _with_kernels(tx, (await tx.execute(wanted)).all())


async def occupied_by_node(tx: Transaction) -> dict[str, ResourceSlots]:
    """Return what the live kernels take of each node."""
    wanted = select(kernels.c.node, kernels.c.slots).where(
        kernels.c.node.is_not(None), kernels.c.status.not_in([status.value for status in DEAD])
    )
    taken: dict[str, ResourceSlots] = {}
    for row in await tx.execute(wanted):
        taken[row.node] = taken.get(row.node, ResourceSlots()) + ResourceSlots.stored(row.slots)
    return taken


async def list_holdings(tx: Transaction) -> list[Holding]:
    """Return what the live kernels take, summed up by node, keypair, project and type of session."""
    slot = func.jsonb_each_text(kernels.c.slots).table_valued("key", "value").lateral()
    by = (
        kernels.c.node,
        sessions.c.access_key,
        sessions.c.user_id,
        sessions.c.project_id,
        sessions.c.domain_name,
        sessions.c.type,
    )
    of_slot = (
        select(*by, slot.c.key, func.sum(slot.c.value.cast(Numeric)).label("amount"))
        .select_from(kernels.join(sessions).join(slot, true()))
        .where(kernels.c.node.is_not(None), kernels.c.status.not_in([status.value for status in DEAD]))
        .group_by(*by, slot.c.key)
        .subquery()
    )
    keys = [column for column in of_slot.c if column.name not in {"key", "amount"}]
    wanted = select(*keys, func.jsonb_object_agg(of_slot.c.key, of_slot.c.amount.cast(Text)).label("slots"))
    return [
        Holding(
            node=row.node,
            tenant=Tenant(row.access_key, row.user_id, row.project_id, row.domain_name),
            type=SessionType(row.type),
            slots=ResourceSlots.stored(row.slots),
        )
        for row in await tx.execute(wanted.group_by(*keys).order_by(*keys))
    ]


async def sum_pending(tx: Transaction, access_key: str) -> tuple[int, ResourceSlots]:
    """Return how many sessions of a keypair wait in the queue, and the sum of their slots."""
    wanted = select(sessions.c.requested_slots).where(
        sessions.c.access_key == access_key, sessions.c.status == SessionStatus.PENDING.value
    )
    waiting = [ResourceSlots.stored(slots) for slots in (await tx.scalars(wanted)).all()]
    return len(waiting), sum(waiting, ResourceSlots())


async def list_parents(tx: Transaction, session_ids: Sequence[UUID]) -> dict[UUID, list[Parent]]:
    """Return what each of the sessions depends on, by name; one without dependencies is absent."""
    wanted = (
        select(session_dependencies.c.session_id, sessions.c.id, sessions.c.name, sessions.c.status, sessions.c.result)
        .join_from(session_dependencies, sessions, session_dependencies.c.depends_on == sessions.c.id)
        .where(session_dependencies.c.session_id == any_(_ids(session_ids)))
        .order_by(sessions.c.name, sessions.c.id)
    )
    found: dict[UUID, list[Parent]] = {}
    for row in await tx.execute(wanted):
        parent = Parent(row.id, row.name, SessionStatus(row.status), SessionResult(row.result))
        found.setdefault(row.session_id, []).append(parent)
    return found


async def list_ancestry(tx: Transaction, root: UUID, limit: int) -> list[tuple[UUID, UUID]]:
    """Return the edges, child and parent, of everything that a session depends on."""
    edges = session_dependencies
    known = select(edges.c.session_id, edges.c.depends_on).where(edges.c.session_id == root)
    ancestry = known.cte("ancestry", recursive=True)
    further = select(edges.c.session_id, edges.c.depends_on).join(ancestry, edges.c.session_id == ancestry.c.depends_on)
    ancestry = ancestry.union(further)
    rows = await tx.execute(select(ancestry).limit(limit))
    return [(row.session_id, row.depends_on) for row in rows]


async def list_live_dependants(tx: Transaction, root: UUID, limit: int) -> list[Session]:
    """Return the live sessions that wait for a session, or for one that waits for it."""
    edges = session_dependencies
    known = select(edges.c.session_id).where(edges.c.depends_on == root).cte("known", recursive=True)
    known = known.union(select(edges.c.session_id).join(known, edges.c.depends_on == known.c.session_id))
    wanted = select(sessions).where(LIVE, sessions.c.id.in_(select(known.c.session_id))).order_by(sessions.c.sequence)
    return await _with_kernels(tx, (await tx.execute(wanted.limit(limit))).all())


async def list_by_id(tx: Transaction, session_ids: Sequence[UUID]) -> list[Session]:
    """Return those of the sessions that exist, oldest first."""
    wanted = select(sessions).where(sessions.c.id == any_(_ids(session_ids))).order_by(sessions.c.sequence)
    return await _with_kernels(tx, (await tx.execute(wanted)).all())


async def find_each(tx: Transaction, access_key: str, words: Sequence[str]) -> dict[str, UUID]:
    """Return the session of a keypair that each word means: an ID, else a name, live before dead and late before early.

    A word that means nothing is absent.
    """
    given = func.unnest(
        literal(list(words), ARRAY(Text)), literal([_as_uuid(word) for word in words], ARRAY(Uuid))
    ).table_valued("word", "by_id")
    given = given.render_derived()
    own, named = sessions.c.access_key == access_key, sessions.c.name == given.c.word
    meant = func.coalesce(
        _one_id(own, sessions.c.id == given.c.by_id),
        _one_id(LIVE, own, named),
        _one_id(own, named),
    )
    return {row.word: row.id for row in await tx.execute(select(given.c.word, meant.label("id"))) if row.id is not None}


def _one_id(*conditions: ColumnElement[bool]) -> ScalarSelect[UUID]:
    """Return the latest of the sessions for which the conditions hold, and of no more than that one."""
    return select(sessions.c.id).where(*conditions).order_by(sessions.c.created_at.desc()).limit(1).scalar_subquery()


async def list_overdue(tx: Transaction, now: datetime, limit: int = 1000) -> list[UUID]:
    """Return the running sessions whose deadline is over, the longest overdue first."""
    wanted = (
        select(sessions.c.id)
        .where(sessions.c.status == SessionStatus.RUNNING.value, sessions.c.deadline <= now)
        .order_by(sessions.c.deadline)
        .limit(limit)
    )
    return list((await tx.scalars(wanted)).all())


async def list_owners(tx: Transaction, session_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return the owner's email address and user name of each of the sessions."""
    wanted = (
        select(sessions.c.id, users.c.email, users.c.username)
        .join_from(sessions, users, sessions.c.user_id == users.c.id)
        .where(sessions.c.id.in_(session_ids))
    )
    return {row.id: (row.email, row.username) for row in await tx.execute(wanted)}


async def find_ends(tx: Transaction, session_ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    """Return for each session that exists when it ended; None for a live one."""
    wanted = select(sessions.c.id, sessions.c.terminated_at).where(sessions.c.id == any_(_ids(session_ids)))
    return {row.id: row.terminated_at for row in await tx.execute(wanted)}


async def find_kernels(tx: Transaction, kernel_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the IDs that are a session's kernels."""
    return set((await tx.scalars(select(kernels.c.id).where(kernels.c.id == any_(_ids(kernel_ids))))).all())


async def count_live_by_keypair(tx: Transaction, access_keys: Sequence[str]) -> dict[str, int]:
    """Return how many live sessions each of the keypairs has; one without any is absent."""
    wanted = (
        select(sessions.c.access_key, func.count().label("live"))
        .where(LIVE, sessions.c.access_key.in_(access_keys))
        .group_by(sessions.c.access_key)
    )
    return {row.access_key: row.live for row in await tx.execute(wanted)}


async def count_live(tx: Transaction) -> int:
    """Return how many sessions are live."""
    wanted = select(func.count()).select_from(sessions).where(LIVE)
    return await tx.scalar(wanted) or 0
