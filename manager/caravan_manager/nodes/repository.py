"""The SQL of nodes and scaling groups."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Table, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by, insert

from caravan_common.slots import ResourceSlots
from caravan_common.states import NodeStatus
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.checks import Values
from caravan_manager.db.choice import EVERYTHING, Choice, Fields, conditions, flag, moment, ordering, text, word
from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import (
    nodes,
    scaling_groups,
    scaling_groups_of_domains,
    scaling_groups_of_keypairs,
    scaling_groups_of_projects,
)
from caravan_manager.nodes.model import Device, Guest, GuestKind, Node, ScalingGroup, Statistics

CLOCK_SET_BACK = timedelta(seconds=20)
"""After so long without news, and before its node is LOST, an agent is believed whatever its clock says."""
DEVICE_FIELDS = tuple(field.name for field in fields(Device))
"""What is read of a device; an agent of another version may have said more."""
FIELDS: Fields = {
    "id": text(nodes.c.name),
    "status": word(nodes.c.status, NodeStatus),
    "status_changed": moment(nodes.c.status_changed),
    "region": text(nodes.c.region),
    "scaling_group": text(nodes.c.scaling_group),
    "schedulable": flag(nodes.c.schedulable),
    "addr": text(nodes.c.url),
    "architecture": text(nodes.c.architecture),
    "first_contact": moment(nodes.c.first_contact),
    "lost_at": moment(nodes.c.lost_at),
    "version": text(nodes.c.version),
}
"""What lists of nodes can be filtered and ordered by."""
_OPEN: dict[GuestKind, tuple[Table, str]] = {
    GuestKind.DOMAIN: (scaling_groups_of_domains, "domain_name"),
    GuestKind.PROJECT: (scaling_groups_of_projects, "project_id"),
    GuestKind.KEYPAIR: (scaling_groups_of_keypairs, "access_key"),
}
"""Where it is written to which guests of a kind scaling groups are open, and the column that names the guest."""


_OF_A_NODE = [column for column in nodes.c if column is not nodes.c.statistics]
"""The scheduler reads nodes in each pass, and does not go by how their devices do."""


def _node(row: AnyRow) -> Node:
    return Node(
        name=row.name,
        node_id=row.node_id,
        status=NodeStatus(row.status),
        status_changed=row.status_changed,
        region=row.region,
        scaling_group=row.scaling_group,
        schedulable=row.schedulable,
        architecture=row.architecture,
        version=row.version,
        url=row.url,
        slots=ResourceSlots.stored(row.slots),
        devices=tuple(Device(**{name: raw[name] for name in DEVICE_FIELDS if name in raw}) for raw in row.devices),
        images=frozenset(row.images),
        volumes=frozenset(row.volumes),
        first_contact=row.first_contact,
        last_heartbeat=row.last_heartbeat,
        lost_at=row.lost_at,
    )


def _scaling_group(row: AnyRow) -> ScalingGroup:
    return ScalingGroup(
        name=row.name,
        description=row.description,
        is_active=row.is_active,
        is_public=row.is_public,
        created_at=row.created_at,
        wsproxy_addr=row.wsproxy_addr,
        driver=row.driver,
        driver_opts=row.driver_opts,
        scheduler=row.scheduler,
        scheduler_opts=row.scheduler_opts,
        use_host_network=row.use_host_network,
    )


def _is_news(at: datetime) -> ColumnElement[bool]:
    """Whether nothing that the node's agent said later is recorded; compares the agent's clock with itself only."""
    return or_(nodes.c.said_at.is_(None), nodes.c.said_at <= at)


async def record_heartbeat(tx: Transaction, beat: NodeHeartbeat) -> bool:
    """Add the node, or bring it up to date: it is ALIVE. Its scaling group stays as an operator set it.

    A new node's group is made if nobody made it before; no domain may use it until an administrator says so.
    False for a heartbeat that came late: the agent has said something since.
    """
    await tx.execute(insert(scaling_groups).values(name=beat.scaling_group).on_conflict_do_nothing())
    fresh = {
        "status": NodeStatus.ALIVE.value,
        "region": beat.region,
        "architecture": beat.architecture,
        "version": beat.version,
        "url": beat.url,
        "slots": ResourceSlots.parse(beat.slots).to_json(),
        "devices": [device.model_dump() for device in beat.devices],
        "statistics": {name: told.model_dump() for name, told in beat.statistics.items()},
        "images": beat.images,
        "volumes": beat.volumes,
        "last_heartbeat": func.now(),
        "said_at": beat.at,
        "lost_at": None,
    }
    new = insert(nodes).values(name=beat.name, node_id=UUID(beat.node), scaling_group=beat.scaling_group, **fresh)
    came_back = case((nodes.c.status != NodeStatus.ALIVE.value, func.now()), else_=nodes.c.status_changed)
    # A node that was built anew keeps its name and has a new ID in Nomad.
    done = await tx.execute(
        new.on_conflict_do_update(
            index_elements=["name"],
            set_=fresh | {"node_id": new.excluded.node_id, "status_changed": came_back},
            where=or_(_is_news(beat.at), nodes.c.last_heartbeat < func.now() - CLOCK_SET_BACK),
        )
    )
    return done.rowcount == 1


async def record_stop(tx: Transaction, node_id: UUID, at: datetime) -> None:
    """Mark a node TERMINATED whose agent stopped; not when one was heard since, which is another process there."""
    await tx.execute(
        update(nodes)
        .where(nodes.c.node_id == node_id, _is_news(at))
        .values(status=NodeStatus.TERMINATED.value, status_changed=func.now(), said_at=at)
    )


async def mark_lost(tx: Transaction, silent_since: datetime) -> list[str]:
    """Mark nodes LOST whose last heartbeat is older; returns their names."""
    lost = (
        update(nodes)
        .where(nodes.c.status == NodeStatus.ALIVE.value, nodes.c.last_heartbeat < silent_since)
        .values(status=NodeStatus.LOST.value, status_changed=func.now(), lost_at=func.now())
        .returning(nodes.c.name)
    )
    return list((await tx.scalars(lost)).all())


async def list_nodes(
    tx: Transaction,
    *,
    scaling_group: str | None = None,
    status: str | None = None,
    name: str | None = None,
    choice: Choice = EVERYTHING,
) -> list[Node]:
    """Return nodes by name; at most 10,000."""
    wanted = select(*_OF_A_NODE).where(*conditions(choice, FIELDS)).limit(10_000)
    wanted = wanted.order_by(*ordering(choice, FIELDS, nodes.c.name))
    if scaling_group is not None:
        wanted = wanted.where(nodes.c.scaling_group == scaling_group)
    if status is not None:
        wanted = wanted.where(nodes.c.status == status)
    if name is not None:
        wanted = wanted.where(nodes.c.name == name)
    return [_node(row) for row in await tx.execute(wanted)]


async def list_statistics(tx: Transaction, name: str | None = None) -> dict[str, Statistics]:
    """Return how the devices of nodes that are ALIVE do, or of one of them: by the node's name, and the device's ID."""
    wanted = select(nodes.c.name, nodes.c.statistics).where(nodes.c.status == NodeStatus.ALIVE.value).limit(10_000)
    if name is not None:
        wanted = wanted.where(nodes.c.name == name)
    return {row.name: row.statistics for row in await tx.execute(wanted)}


async def list_slots(tx: Transaction) -> frozenset[str]:
    """Return the names of the slots that any node has, also one that is away now."""
    names = select(func.jsonb_object_keys(nodes.c.slots).label("name")).subquery()
    return frozenset((await tx.scalars(select(names.c.name).distinct().limit(1000))).all())


async def find_names(tx: Transaction, names: Sequence[str], scaling_group: str) -> frozenset[str]:
    """Return those of the names that nodes of a scaling group have."""
    found = select(nodes.c.name).where(nodes.c.name.in_(names), nodes.c.scaling_group == scaling_group)
    return frozenset((await tx.scalars(found)).all())


async def list_models(tx: Transaction) -> frozenset[str]:
    """Return the models of the accelerators that any node has, also one that is away now."""
    device = func.jsonb_array_elements(nodes.c.devices, type_=JSONB)
    names = select(device["model"].astext).distinct().limit(1000)
    return frozenset((await tx.scalars(names)).all())


async def list_divisions(tx: Transaction) -> dict[str, dict[str, frozenset[int]]]:
    """Return of each scaling group and slot into how many shares devices are divided, those of absent nodes too."""
    devices = select(nodes.c.scaling_group, func.jsonb_array_elements(nodes.c.devices, type_=JSONB).label("device"))
    each = devices.subquery()
    slot, shares = each.c.device["slot"].astext, func.array_agg(each.c.device["shares"].as_integer().distinct())
    wanted = select(each.c.scaling_group, slot.label("slot"), shares.label("shares"))
    found: dict[str, dict[str, frozenset[int]]] = {}
    for row in await tx.execute(wanted.group_by(each.c.scaling_group, slot).order_by(each.c.scaling_group, slot)):
        found.setdefault(row.scaling_group, {})[row.slot] = frozenset(row.shares)
    return found


async def list_mounted(tx: Transaction, groups: Sequence[str]) -> list[tuple[str, str]]:
    """Return the volumes that nodes of scaling groups mount which take sessions now, each with the group; by name."""
    volume = func.unnest(nodes.c.volumes).label("volume")
    wanted = select(volume, nodes.c.scaling_group).distinct().order_by(volume, nodes.c.scaling_group)
    there = wanted.where(
        nodes.c.scaling_group.in_(groups), nodes.c.status == NodeStatus.ALIVE.value, nodes.c.schedulable
    )
    return [(row.volume, row.scaling_group) for row in await tx.execute(there)]


async def list_scaling_groups(
    tx: Transaction,
    *,
    name: str | None = None,
    open_to: Sequence[Guest] | None = None,
    is_active: bool | None = None,
    only_public: bool = False,
) -> list[ScalingGroup]:
    """Return scaling groups by name: all, or those that are open to at least one of some guests."""
    wanted = select(scaling_groups).order_by(scaling_groups.c.name).limit(1000)
    if name is not None:
        wanted = wanted.where(scaling_groups.c.name == name)
    if open_to is not None:
        wanted = wanted.where(or_(*_open_to_any(open_to)))
    if is_active is not None:
        wanted = wanted.where(scaling_groups.c.is_active == is_active)
    if only_public:
        wanted = wanted.where(scaling_groups.c.is_public)
    return [_scaling_group(row) for row in await tx.execute(wanted)]


def _open_to_any(guests: Sequence[Guest]) -> list[ColumnElement[bool]]:
    """Choose the scaling groups that are open to guests, with a condition a kind."""
    found: list[ColumnElement[bool]] = []
    for kind, (table, who) in _OPEN.items():
        ids = [guest.id for guest in guests if guest.kind is kind]
        if ids:
            found.append(scaling_groups.c.name.in_(select(table.c.scaling_group).where(table.c[who].in_(ids))))
    return found


async def list_open_to_projects(tx: Transaction, projects: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Return by name the scaling groups that are open to each of some projects, with one query."""
    of = scaling_groups_of_projects
    names = func.array_agg(aggregate_order_by(of.c.scaling_group, of.c.scaling_group)).label("names")
    wanted = select(of.c.project_id, names).where(of.c.project_id.in_(projects)).group_by(of.c.project_id)
    return {row.project_id: row.names for row in await tx.execute(wanted)}


async def add_scaling_group(tx: Transaction, name: str, values: Values) -> None:
    """Add a scaling group. Raises IntegrityError when there is one of that name."""
    await tx.execute(scaling_groups.insert().values(name=name, **values))


async def lock_scaling_group(tx: Transaction, name: str) -> ScalingGroup | None:
    """Return a scaling group that nobody else changes until the transaction ends; None when there is none."""
    row = (await tx.execute(select(scaling_groups).where(scaling_groups.c.name == name).with_for_update())).first()
    return None if row is None else _scaling_group(row)


async def change_scaling_group(tx: Transaction, name: str, values: Values) -> None:
    """Change some columns of a scaling group."""
    if values:
        await tx.execute(update(scaling_groups).where(scaling_groups.c.name == name).values(**values))


async def delete_scaling_group(tx: Transaction, name: str) -> bool:
    """Delete a scaling group; False when there is none. Raises IntegrityError while nodes or sessions belong to it."""
    return (await tx.execute(scaling_groups.delete().where(scaling_groups.c.name == name))).rowcount == 1


async def open_to(tx: Transaction, guest: Guest, groups: Sequence[str]) -> None:
    """Let a guest use scaling groups. Raises IntegrityError when one of them, or the guest, is not there."""
    table, who = _OPEN[guest.kind]
    rows = [{"scaling_group": group, who: guest.id} for group in groups]
    if rows:
        await tx.execute(insert(table).values(rows).on_conflict_do_nothing())


async def close_to(tx: Transaction, guest: Guest, groups: Sequence[str] | None) -> int:
    """Take scaling groups, or all that are open to it, from a guest; returns how many of them were."""
    table, who = _OPEN[guest.kind]
    gone = table.delete().where(table.c[who] == guest.id)
    if groups is not None:
        gone = gone.where(table.c.scaling_group.in_(groups))
    return (await tx.execute(gone)).rowcount


async def change_node(tx: Transaction, name: str, values: dict[str, object]) -> bool:
    """Change some columns of a node; False when there is none. Raises IntegrityError for a group that is not there."""
    changed = update(nodes).where(nodes.c.name == name).values(**values or {"name": name})
    return (await tx.execute(changed)).rowcount == 1
