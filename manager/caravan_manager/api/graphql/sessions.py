"""Sessions and their containers in GraphQL."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ariadne import ObjectType

from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionStatus
from caravan_manager.api.graphql.base import Asked, Info, Listed, Once, Page, as_uuid, bind, global_id, nothing, words
from caravan_manager.images.model import Image
from caravan_manager.sessions.model import Kernel, Session
from caravan_manager.sessions.ports import preopened
from caravan_manager.sessions.repository import SessionPage

queries = ObjectType("Queries")
mutations = ObjectType("Mutations")
ImagesByReference = dict[tuple[str, str], Image]
"""Images by reference and architecture."""
ParentsByChild = dict[UUID, list["SessionRow"]]
"""What each session depends on, by the session's ID."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session with its owner's names, and what its fields load for the whole list."""

    session: Session
    email: str
    full_name: str
    project_name: str
    images: Once[ImagesByReference]
    parents: Once[ParentsByChild]
    budget: "Budget"


@dataclass(slots=True)
class Budget:
    """How many dependencies one answer may still spell out: each is told again below each that depends on it."""

    left: int = 10_000

    def take(self, rows: int) -> None:
        """Count rows. Raises InvalidParametersError when they are too many."""
        self.left -= rows
        if self.left < 0:
            raise InvalidParametersError("the dependencies asked for are too many")


@dataclass(frozen=True, slots=True)
class KernelRow:
    """A kernel of a session; ``rank`` counts the session's kernels from 0."""

    kernel: Kernel
    rank: int
    row: SessionRow


@queries.field("compute_session")
async def compute_session(_: object, info: Info, id: UUID) -> object:  # noqa: A002
    """Answer one session that the caller may see."""
    return _rows(info.context, await info.context.sessions.by_id(info.context.principal, id))[0]


@queries.field("compute_session_list")
async def compute_session_list(
    _: object,
    info: Info,
    limit: int,
    offset: int,
    domain_name: str | None = None,
    group_id: str | None = None,
    access_key: str | None = None,
    status: str | None = None,
    **language: str | None,
) -> object:
    """Answer a page of the sessions that the caller may see; ``status`` names several, joined by commas."""
    asked, page = info.context, Page.of(limit, offset, language)
    found = await asked.sessions.list_page(
        asked.principal,
        statuses=_statuses(status),
        access_key=access_key,
        domain=domain_name,
        project=None if group_id is None else as_uuid(group_id),
        limit=page.limit,
        offset=page.offset,
        choice=page.choice,
    )
    return Listed(_rows(asked, found), found.total)


@mutations.field("modify_compute_session")
async def modify_compute_session(_: object, info: Info, input: dict[str, Any]) -> object:  # noqa: A002
    """Give a session another name or priority; what is absent or null stays as it is."""
    asked = info.context
    session = input["id"]
    await asked.sessions.change(asked.principal, session, input.get("name"), input.get("priority"))
    changed = _rows(asked, await asked.sessions.by_id(asked.principal, session))[0]
    return {"item": changed, "clientMutationId": input.get("clientMutationId")}


def _statuses(text: str | None) -> list[str] | None:
    named = words(text)
    for name in named or []:
        if name not in SessionStatus.__members__:
            raise InvalidParametersError(f"{name!r} is not a status of sessions")
    return named


def _rows(asked: Asked, page: SessionPage, budget: Budget | None = None) -> list[SessionRow]:
    shared = budget or Budget()

    async def load() -> ImagesByReference:
        return {(image.reference, image.architecture): image for image in await asked.images.images()}

    async def load_parents() -> ParentsByChild:
        edges, found = await asked.sessions.dependencies([session.id for session in page.sessions])
        rows = {row.session.id: row for row in _rows(asked, found, shared)}
        return {child: [rows[parent] for parent in parents if parent in rows] for child, parents in edges.items()}

    images, parents = Once(load), Once(load_parents)
    return [
        SessionRow(
            session=session,
            email=page.emails[session.id],
            full_name=page.full_names[session.id],
            project_name=page.project_names[session.id],
            images=images,
            parents=parents,
            budget=shared,
        )
        for session in page.sessions
    ]


def _nodes(row: SessionRow) -> list[str]:
    return list(dict.fromkeys(k.node for k in row.session.kernels if k.node is not None))


def _occupied(row: SessionRow) -> dict[str, str]:
    """What the session takes or took of its nodes: the protocol keeps showing it after the end."""
    taken = ResourceSlots()
    for kernel in row.session.kernels:
        if kernel.node is not None:
            taken = taken + kernel.slots
    return taken.to_json()


async def _dependencies(row: SessionRow) -> list[SessionRow]:
    found = (await row.parents.get()).get(row.session.id, [])
    row.budget.take(len(found))
    return found


def _containers(row: SessionRow) -> list[KernelRow]:
    return [KernelRow(kernel, rank, row) for rank, kernel in enumerate(row.session.kernels)]


def _resource_opts(row: SessionRow) -> dict[str, dict[str, str]]:
    return {kernel.cluster_hostname: row.session.resource_opts for kernel in row.session.kernels}


SESSION: dict[str, Callable[[SessionRow], object]] = {
    "id": lambda row: str(row.session.id),
    "session_id": lambda row: row.session.id,
    "main_kernel_id": lambda row: row.session.main_kernel.id,
    "tag": lambda row: row.session.tag,
    "name": lambda row: row.session.name,
    "type": lambda row: row.session.type.name,
    "main_kernel_role": lambda row: row.session.type.name,
    "priority": lambda row: row.session.priority,
    "image": lambda row: row.session.image,
    "architecture": lambda row: row.session.architecture,
    "registry": lambda row: row.session.registry,
    "cluster_template": nothing,
    "cluster_mode": lambda row: row.session.cluster_mode.value,
    "cluster_size": lambda row: len(row.session.kernels),
    "domain_name": lambda row: row.session.domain_name,
    "group_name": lambda row: row.project_name,
    "group_id": lambda row: row.session.project_id,
    "user_email": lambda row: row.email,
    "full_name": lambda row: row.full_name,
    "user_id": lambda row: row.session.user_id,
    "access_key": lambda row: row.session.access_key,
    "created_user_email": nothing,
    "created_user_id": nothing,
    "status": lambda row: row.session.status.value,
    "status_changed": lambda row: row.session.status_changed,
    "status_info": lambda row: row.session.status_info,
    "status_data": lambda row: row.session.status_data,
    "status_history": lambda row: row.session.status_history,
    "created_at": lambda row: row.session.created_at,
    "terminated_at": lambda row: row.session.terminated_at,
    "starts_at": lambda row: row.session.starts_at,
    "scheduled_at": lambda row: row.session.scheduled_at,
    "startup_command": lambda row: row.session.startup_command,
    "result": lambda row: row.session.result.name,
    "commit_status": lambda _: "ready",
    "abusing_reports": lambda row: [None for _ in row.session.kernels],
    "idle_checks": lambda _: {},
    "agent_ids": _nodes,
    "agents": _nodes,
    "resource_opts": _resource_opts,
    "scaling_group": lambda row: row.session.scaling_group,
    "service_ports": lambda row: [port.to_json() for port in row.session.service_ports],
    "mounts": lambda row: [mount.name for mount in row.session.mounts],
    "vfolder_mounts": lambda row: [str(mount.folder) for mount in row.session.mounts],
    "occupying_slots": lambda row: row.session.occupying_slots.to_json(),
    "occupied_slots": _occupied,
    "requested_slots": lambda row: row.session.requested_slots.to_json(),
    "num_queries": lambda _: 0,
    "containers": _containers,
    "dependencies": _dependencies,
    "inference_metrics": nothing,
}


NODE: dict[str, Callable[[SessionRow], object]] = {
    "id": lambda row: global_id("ComputeSessionNode", row.session.id),
    "row_id": lambda row: row.session.id,
    "project_id": lambda row: row.session.project_id,
    "permissions": lambda _: [],
    "image_references": lambda row: [row.session.image],
    **{
        field: SESSION[field]
        for field in (
            *("tag", "name", "type", "priority", "cluster_template", "cluster_mode", "cluster_size", "domain_name"),
            *("user_id", "access_key", "status", "status_info", "status_data", "status_history", "created_at"),
            *("terminated_at", "starts_at", "scheduled_at", "startup_command", "result", "commit_status"),
            *("abusing_reports", "idle_checks", "agent_ids", "resource_opts", "scaling_group", "service_ports"),
            *("vfolder_mounts", "occupied_slots", "requested_slots", "num_queries", "inference_metrics"),
        )
    },
}


async def _image(row: KernelRow) -> Image | None:
    session = row.row.session
    return (await row.row.images.get()).get((session.image, session.architecture))


def _kernel_data(row: KernelRow) -> dict[str, object]:
    code = row.kernel.exit_code
    return {} if code is None else {"kernel": {"exit_code": code}}


KERNEL: dict[str, Callable[[KernelRow], object]] = {
    "id": lambda row: str(row.kernel.id),
    "idx": lambda row: row.kernel.cluster_idx,
    "role": lambda row: row.kernel.cluster_role,
    "hostname": lambda row: row.kernel.cluster_hostname,
    "kernel_id": lambda row: row.kernel.id,
    "cluster_idx": lambda row: row.kernel.cluster_idx,
    "local_rank": lambda row: row.rank,
    "cluster_role": lambda row: row.kernel.cluster_role,
    "cluster_hostname": lambda row: row.kernel.cluster_hostname,
    "session_id": lambda row: row.kernel.session_id,
    "image": lambda row: row.row.session.image,
    "image_object": _image,
    "architecture": lambda row: row.row.session.architecture,
    "registry": lambda row: row.row.session.registry,
    "status": lambda row: row.kernel.status.value,
    "status_changed": lambda row: row.kernel.status_changed,
    "status_info": nothing,
    "status_data": _kernel_data,
    "created_at": lambda row: row.kernel.created_at,
    "terminated_at": lambda row: row.kernel.terminated_at,
    "starts_at": lambda row: row.row.session.starts_at,
    "scheduled_at": lambda row: row.row.session.scheduled_at,
    "abusing_report": nothing,
    "agent": lambda row: row.kernel.node,
    "agent_addr": nothing,
    "container_id": lambda row: row.kernel.container_id,
    "resource_opts": lambda row: row.row.session.resource_opts,
    "occupied_slots": lambda row: {} if row.kernel.node is None else row.kernel.slots.to_json(),
    "live_stat": nothing,
    "last_stat": nothing,
    "preopen_ports": lambda row: preopened(row.row.session.service_ports),
}

PAYLOAD: dict[str, Callable[[dict[str, object]], object]] = {
    "item": lambda made: made["item"],
    "clientMutationId": lambda made: made["clientMutationId"],
}

BINDABLES = [
    queries,
    mutations,
    bind("ModifyComputeSessionPayload", PAYLOAD),
    bind("ComputeSession", SESSION),
    bind("ComputeSessionNode", NODE),
    bind("ComputeContainer", KERNEL),
]
