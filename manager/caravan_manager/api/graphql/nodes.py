"""Nodes (the protocol's agents) and scaling groups in GraphQL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from ariadne import ObjectType

from caravan_common.slots import ResourceSlots
from caravan_manager.api.graphql.base import (
    Asked,
    Info,
    Listed,
    Once,
    Page,
    as_uuid,
    bind,
    nothing,
    outcome,
    payload,
    words,
)
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.nodes.live import compute_plugins, hardware_metadata, live_stat
from caravan_manager.nodes.model import Guest, GuestKind, Node, ScalingGroup, Statistics
from caravan_manager.nodes.slots import Divisions, quantum

queries = ObjectType("Queries")
mutations = ObjectType("Mutations")
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node, what is taken of it, and how the devices of all nodes of the list do, loaded once for it."""

    node: Node
    taken: ResourceSlots
    statistics: Once[dict[str, Statistics]]


@dataclass(frozen=True, slots=True)
class ScalingGroupRow:
    """A scaling group; the nodes of all groups and how their devices are divided are loaded once for a list."""

    group: ScalingGroup
    nodes: Once[list[NodeRow]]
    divisions: Once[Mapping[str, Divisions]]


@queries.field("agent")
async def agent(_: object, info: Info, agent_id: str) -> object:
    """Answer one node by its name."""
    asked = info.context
    return NodeRow(*await asked.nodes.node(asked.principal, agent_id), _statistics(asked, agent_id))


@queries.field("agents")
async def agents(_: object, info: Info, scaling_group: str | None = None, status: str | None = None) -> object:
    """Answer all nodes, by name; ``status`` names several, joined by commas."""
    return await _rows(info.context, scaling_group, status)


@queries.field("agent_list")
async def agent_list(
    _: object,
    info: Info,
    limit: int,
    offset: int,
    scaling_group: str | None = None,
    status: str | None = None,
    **language: str | None,
) -> object:
    """Answer a page of the nodes, by name unless told otherwise."""
    page = Page.of(limit, offset, language)
    rows = await _rows(info.context, scaling_group, status, page.choice)
    return Listed(rows[page.offset : page.offset + page.limit], len(rows))


@queries.field("scaling_group")
async def scaling_group(_: object, info: Info, name: str | None = None) -> object:
    """Answer one scaling group that the caller may see."""
    asked = info.context
    found = await asked.nodes.scaling_groups(asked.principal, name=name)
    return next(iter(_group_rows(asked, found)), None) if name is not None else None


@queries.field("scaling_groups")
async def scaling_groups(_: object, info: Info, name: str | None = None, is_active: bool | None = None) -> object:
    """Answer the scaling groups that the caller may see."""
    asked = info.context
    return _group_rows(asked, await asked.nodes.scaling_groups(asked.principal, name=name, is_active=is_active))


@queries.field("accessible_scaling_groups")
async def accessible_scaling_groups(_: object, info: Info, project_id: UUID) -> object:
    """Answer the scaling groups that the caller may use in a project."""
    asked = info.context
    return _group_rows(asked, await asked.nodes.usable_scaling_groups(asked.principal, project_id))


@queries.field("scaling_groups_for_domain")
async def scaling_groups_for_domain(_: object, info: Info, domain: str, is_active: bool | None = None) -> object:
    """Answer the scaling groups that are open to a domain."""
    return await _open_to(info.context, Guest(GuestKind.DOMAIN, domain), is_active)


@queries.field("scaling_groups_for_user_group")
async def scaling_groups_for_user_group(
    _: object, info: Info, user_group: str, is_active: bool | None = None
) -> object:
    """Answer the scaling groups that are open to a project."""
    return await _open_to(info.context, Guest(GuestKind.PROJECT, as_uuid(user_group)), is_active)


@queries.field("scaling_groups_for_keypair")
async def scaling_groups_for_keypair(_: object, info: Info, access_key: str, is_active: bool | None = None) -> object:
    """Answer the scaling groups that are open to a keypair."""
    return await _open_to(info.context, Guest(GuestKind.KEYPAIR, access_key), is_active)


@mutations.field("modify_agent")
async def modify_agent(_: object, info: Info, id: str, props: dict[str, Any]) -> object:  # noqa: A002 - the schema's
    """Close a node to new sessions, open it, or move it to another scaling group."""
    return await outcome(info, info.context.node_admin.change_node(info.context.principal, id, props))


@mutations.field("create_scaling_group")
async def create_scaling_group(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
    """Make a scaling group."""
    asked = info.context

    async def made() -> ScalingGroupRow:
        return _group_rows(asked, [await asked.node_admin.create_scaling_group(asked.principal, name, props)])[0]

    return await outcome(info, made(), "scaling_group")


@mutations.field("modify_scaling_group")
async def modify_scaling_group(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
    """Change a scaling group; what is absent or null stays as it is."""
    return await outcome(info, info.context.node_admin.change_scaling_group(info.context.principal, name, props))


@mutations.field("delete_scaling_group")
async def delete_scaling_group(_: object, info: Info, name: str) -> object:
    """Delete a scaling group that nothing belongs to."""
    return await outcome(info, info.context.node_admin.delete_scaling_group(info.context.principal, name))


async def _rows(
    asked: Asked, scaling_group: str | None, status: str | None, choice: Choice = EVERYTHING
) -> list[NodeRow]:
    found, taken = await asked.nodes.nodes(asked.principal, scaling_group=scaling_group, status=None, choice=choice)
    wanted, statistics = words(status), _statistics(asked)
    return [
        NodeRow(node, taken.get(node.name, ResourceSlots()), statistics)
        for node in found
        if wanted is None or node.status.value in wanted
    ]


async def _open_to(asked: Asked, guest: Guest, is_active: bool | None) -> list[ScalingGroupRow]:
    return _group_rows(asked, await asked.nodes.scaling_groups_open_to(asked.principal, guest, is_active=is_active))


def _statistics(asked: Asked, name: str | None = None) -> Once[dict[str, Statistics]]:
    async def load() -> dict[str, Statistics]:
        return await asked.nodes.statistics(asked.principal, name)

    return Once(load)


async def _live_stat(row: NodeRow) -> object:
    statistics = await row.statistics.get()
    return live_stat(row.node.devices, statistics.get(row.node.name, {}))


def _group_rows(asked: Asked, found: list[ScalingGroup]) -> list[ScalingGroupRow]:
    async def load() -> list[NodeRow]:
        return await _rows(asked, None, None)

    nodes, divisions = Once(load), Once(asked.nodes.divisions_by_group)
    return [ScalingGroupRow(group, nodes, divisions) for group in found]


def _amount(slots: ResourceSlots, name: str) -> float:
    return float(slots.get(name, Decimal(0)))


def _mebibytes(slots: ResourceSlots) -> int:
    return int(slots.get("mem", Decimal(0))) // _MEBIBYTE


AGENT: dict[str, Callable[[NodeRow], object]] = {
    "id": lambda row: row.node.name,
    "status": lambda row: row.node.status.value,
    "status_changed": lambda row: row.node.status_changed,
    "region": lambda row: row.node.region,
    "scaling_group": lambda row: row.node.scaling_group,
    "schedulable": lambda row: row.node.schedulable,
    "available_slots": lambda row: row.node.slots.to_json(),
    "occupied_slots": lambda row: row.taken.to_json(),
    "addr": lambda row: row.node.url,
    "architecture": lambda row: row.node.architecture,
    "first_contact": lambda row: row.node.first_contact,
    "lost_at": lambda row: row.node.lost_at,
    "live_stat": _live_stat,
    "version": lambda row: row.node.version,
    "compute_plugins": lambda row: compute_plugins(row.node),
    "hardware_metadata": lambda row: hardware_metadata(row.node),
    "auto_terminate_abusing_kernel": lambda _: False,
    "local_config": lambda _: {"agent": {"auto_terminate_abusing_kernel": False}},
    "container_count": nothing,
    "gpu_alloc_map": nothing,
    "mem_slots": lambda row: _mebibytes(row.node.slots),
    "cpu_slots": lambda row: _amount(row.node.slots, "cpu"),
    "gpu_slots": lambda row: _amount(row.node.slots, "cuda.device"),
    "tpu_slots": lambda row: _amount(row.node.slots, "tpu.device"),
    "used_mem_slots": lambda row: _mebibytes(row.taken),
    "used_cpu_slots": lambda row: _amount(row.taken, "cpu"),
    "used_gpu_slots": lambda row: _amount(row.taken, "cuda.device"),
    "used_tpu_slots": lambda row: _amount(row.taken, "tpu.device"),
    "cpu_cur_pct": lambda _: 0.0,
    "mem_cur_bytes": lambda _: 0.0,
    "compute_containers": nothing,
}

SCALING_GROUP: dict[str, Callable[[ScalingGroupRow], object]] = {
    "name": lambda row: row.group.name,
    "description": lambda row: row.group.description,
    "is_active": lambda row: row.group.is_active,
    "is_public": lambda row: row.group.is_public,
    "created_at": lambda row: row.group.created_at,
    "wsproxy_addr": lambda row: row.group.wsproxy_addr,
    "wsproxy_api_token": nothing,
    "driver": lambda row: row.group.driver,
    "driver_opts": lambda row: row.group.driver_opts,
    "scheduler": lambda row: row.group.scheduler,
    "scheduler_opts": lambda row: row.group.scheduler_opts,
    "use_host_network": lambda row: row.group.use_host_network,
    "own_session_occupied_resource_slots": nothing,
}

groups = bind("ScalingGroup", SCALING_GROUP)


@groups.field("accelerator_quantum_size")
async def accelerator_quantum_size(row: ScalingGroupRow, _: Info) -> float | None:
    """Answer the part in multiples of which the group's accelerators can be asked for; null for whole ones only."""
    return quantum((await row.divisions.get()).get(row.group.name, {}))


@groups.field("agent_count_by_status")
async def agent_count_by_status(row: ScalingGroupRow, _: Info, status: str | None = None) -> int:
    """Answer how many nodes of the group have the status."""
    return len(_members(row, await row.nodes.get(), status))


@groups.field("agent_total_resource_slots_by_status")
async def agent_total_resource_slots_by_status(row: ScalingGroupRow, _: Info, status: str | None = None) -> object:
    """Answer what the group's nodes of the status have together, and what is taken of it."""
    members = _members(row, await row.nodes.get(), status)
    return {
        "occupied_slots": _total([member.taken for member in members]),
        "available_slots": _total([member.node.slots for member in members]),
    }


def _members(row: ScalingGroupRow, nodes: list[NodeRow], status: str | None) -> list[NodeRow]:
    return [
        node for node in nodes if node.node.scaling_group == row.group.name and status in {None, node.node.status.value}
    ]


def _total(parts: list[ResourceSlots]) -> dict[str, str]:
    total = ResourceSlots()
    for part in parts:
        total = total + part
    return total.to_json()


BINDABLES = [
    queries,
    mutations,
    bind("Agent", AGENT),
    groups,
    payload("CreateScalingGroup", "scaling_group"),
    payload("ModifyAgent"),
    payload("ModifyScalingGroup"),
    payload("DeleteScalingGroup"),
]
