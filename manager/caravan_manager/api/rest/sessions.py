"""REST: sessions."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from caravan_common.errors import InvalidParametersError
from caravan_common.http import json_response
from caravan_common.states import ClusterMode, SessionStatus, SessionType
from caravan_manager.api.context import PRINCIPAL, SESSIONS, is_connected, read_parameters
from caravan_manager.compiler.job import shm_bytes
from caravan_manager.nodes.model import DEFAULT_PRIORITY
from caravan_manager.sessions.durations import parse_duration
from caravan_manager.sessions.graph import DependencyNode
from caravan_manager.sessions.model import Session, SessionNotFoundError
from caravan_manager.sessions.request import MAX_CLUSTER_SIZE, MAX_DEPENDENCIES, SessionRequest
from caravan_manager.vfolders.model import MountRequest

routes = web.RouteTableDef()

LONGEST_WAIT_SECONDS = 3600.0


def _either(*names: str) -> Any:
    return AliasChoices(*names)


def _none_as_empty(value: object) -> object:
    return {} if value is None else value


def _duration(value: object) -> timedelta | None:
    return None if value is None else parse_duration(value)


Mapping = Annotated[dict[str, Any], BeforeValidator(_none_as_empty)]


Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=MAX_DEPENDENCIES)]
Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=MAX_CLUSTER_SIZE)]
Duration = Annotated[timedelta | None, BeforeValidator(_duration)]


Port = Annotated[int, Field(ge=1024, le=65535)]
"""A number, or the text of one: the command line sends text."""


class MountOptions(BaseModel):
    """What else is said of one mount."""

    permission: str | None = Field(default=None, validation_alias=_either("permission", "perm"))
    subpath: str | None = None


class SessionConfig(BaseModel):
    """The ``config`` of a new session."""

    model_config = ConfigDict(populate_by_name=True)

    mounts: list[str] | None = None
    mount_ids: list[str] | None = Field(default=None, validation_alias=_either("mount_ids", "mountIds"))
    mount_map: Mapping = Field(default={}, validation_alias=_either("mount_map", "mountMap"))
    mount_id_map: Mapping = Field(default={}, validation_alias=_either("mount_id_map", "mountIdMap"))
    mount_options: dict[str, MountOptions] | None = Field(
        default=None, validation_alias=_either("mount_options", "mountOptions")
    )
    environ: Mapping = {}
    resources: Mapping = {}
    resource_opts: Mapping = Field(default={}, validation_alias=_either("resource_opts", "resourceOpts"))
    preopen_ports: list[Port] | None = Field(default=None, validation_alias=_either("preopen_ports", "preopenPorts"))
    scaling_group: str | None = Field(default=None, validation_alias=_either("scaling_group", "scalingGroup"))
    agent_list: Names | None = Field(default=None, validation_alias=_either("agent_list", "agentList"))


class CreateSession(BaseModel):
    """Body of POST /session, with the spellings of all clients."""

    model_config = ConfigDict(populate_by_name=True)

    name: str | None = Field(default=None, validation_alias=_either("name", "clientSessionToken", "session_name"))
    image: str | None = Field(default=None, validation_alias=_either("image", "lang"))
    architecture: str | None = Field(default=None, validation_alias=_either("architecture", "arch"))
    type: SessionType = Field(default=SessionType.INTERACTIVE, validation_alias=_either("type", "sessionType"))
    project: str = Field(default="default", validation_alias=_either("group", "groupName", "group_name"))
    domain: str | None = Field(default=None, validation_alias=_either("domain", "domainName", "domain_name"))
    tag: str | None = Field(default=None, max_length=64)
    priority: int = DEFAULT_PRIORITY
    starts_at: str | None = Field(default=None, max_length=64, validation_alias=_either("starts_at", "startsAt"))
    batch_timeout: Duration = Field(default=None, validation_alias=_either("batch_timeout", "batchTimeout"))
    dependencies: Words | None = None
    cluster_size: int = Field(default=1, validation_alias=_either("cluster_size", "clusterSize"))
    cluster_mode: ClusterMode = Field(
        default=ClusterMode.SINGLE_NODE, validation_alias=_either("cluster_mode", "clusterMode")
    )
    config: SessionConfig = SessionConfig()
    startup_command: str | None = Field(default=None, validation_alias=_either("startup_command", "startupCommand"))
    bootstrap_script: str | None = Field(default=None, validation_alias=_either("bootstrap_script", "bootstrapScript"))
    callback_url: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"(?i)^https?://[^\s/]",
        validation_alias=_either("callback_url", "callbackUrl"),
    )
    enqueue_only: bool = Field(default=False, validation_alias=_either("enqueue_only", "enqueueOnly"))
    max_wait_seconds: float = Field(default=0, ge=0, validation_alias=_either("max_wait_seconds", "maxWaitSeconds"))
    reuse: bool = Field(default=True, validation_alias=_either("reuse", "reuseIfExists"))


class DestroySession(BaseModel):
    """Parameters of DELETE /session/{session}."""

    forced: bool = False
    recursive: bool = False


@routes.post("/session")
@routes.post("/session/_/create")
async def create_session(request: web.Request) -> web.Response:
    """Put a session into the queue; unless told otherwise, answer when it runs. One that is reused is told as it is."""
    body = CreateSession.model_validate(await read_parameters(request))
    principal = request[PRINCIPAL]
    service = request.app[SESSIONS]
    made = await service.create(principal, session_request(body, principal.domain_name))
    session = made.session
    waits = made.created and not body.enqueue_only
    if waits:
        limit = min(body.max_wait_seconds or LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        session = await service.wait_until_started(session.id, limit, partial(is_connected, request))
        if session.never_ran:
            raise SessionNotFoundError(f"session {session.name} ended before it ran: {session.status_info}")
    status = session.status.value
    if waits and not session.has_settled:
        status = "TIMEOUT"
    ports = _service_ports(session)
    answer: dict[str, object] = {
        "sessionId": str(session.id),
        "sessionName": session.name,
        "status": status,
        "servicePorts": ports,
        "created": made.created,
    }
    if not made.created:
        answer["service_ports"] = ports  # Backend.AI's only name for them here, though its clients read the other one
    return json_response(answer, status=201)


def _service_ports(session: Session) -> list[dict[str, object]]:
    """Return what a client may open in the session, which must run for that."""
    ports = session.service_ports if session.status is SessionStatus.RUNNING else ()
    return [{"name": p.name, "protocol": p.protocol, "ports": list(p.container_ports)} for p in ports]


def session_request(body: CreateSession, domain: str) -> SessionRequest:
    """Return what the body asks for. Raises InvalidParametersError."""
    if body.image is None or body.name is None:
        missing = {"session_name": body.name, "image": body.image}
        raise InvalidParametersError(
            "Input validation error", data={k: "is required" for k, v in missing.items() if v is None}
        )
    config = body.config
    return SessionRequest(
        name=body.name,
        image=body.image,
        architecture=body.architecture or "x86_64",
        type=body.type,
        project=body.project,
        domain=body.domain or domain,
        scaling_group=config.scaling_group,
        priority=body.priority,
        tag=body.tag,
        cluster_mode=body.cluster_mode,
        cluster_size=body.cluster_size,
        resources=config.resources,
        resource_opts=config.resource_opts,
        environ={name: str(value) for name, value in config.environ.items()},
        mounts=_mounts(config),
        startup_command=body.startup_command,
        bootstrap_script=body.bootstrap_script,
        preopen_ports=tuple(config.preopen_ports or ()),
        callback_url=body.callback_url,
        reuse=body.reuse,
        starts_at=body.starts_at,
        batch_timeout=body.batch_timeout,
        dependencies=tuple(body.dependencies or ()),
        agents=tuple(config.agent_list or ()),
    )


def _mounts(config: SessionConfig) -> tuple[MountRequest, ...]:
    """Read the mounts: each names a folder, or with ``folder/path`` a part of it."""
    return tuple(_mount(key, config) for key in [*(config.mounts or []), *(config.mount_ids or [])])


def _mount(key: str, config: SessionConfig) -> MountRequest:
    name, _, subpath = key.partition("/")
    given = config.mount_options or {}
    options = given.get(key) or given.get(name) or MountOptions()
    targets = config.mount_map | config.mount_id_map
    target = targets.get(key) or targets.get(name)
    return MountRequest(
        name=name,
        subpath=subpath or options.subpath or ".",
        target=str(target) if target else None,
        permission=options.permission,
    )


@routes.get("/session/_/match")
async def match_sessions(request: web.Request) -> web.Response:
    """List the sessions that a word may mean."""
    parameters = await read_parameters(request)
    found = await request.app[SESSIONS].match(request[PRINCIPAL], str(parameters.get("id", "")))
    return json_response({"matches": [{"id": str(s.id), "name": s.name, "status": s.status.value} for s in found]})


@routes.get("/session/_/logs")
async def task_logs(request: web.Request) -> web.Response:
    """Return the log of a task, which is a kernel, as plain text."""
    parameters = await read_parameters(request)
    names = ("kernel_id", "kernelId", "task_id", "taskId", "session_name", "sessionName")
    wanted = next((str(parameters[name]) for name in names if parameters.get(name)), None)
    if wanted is None:
        raise InvalidParametersError("Input validation error", data={"kernel_id": "is required"})
    logs = await request.app[SESSIONS].task_logs(request[PRINCIPAL], wanted)
    return web.Response(body=logs, content_type="text/plain", charset="utf-8")


@routes.get("/session/{session}")
async def session_info(request: web.Request) -> web.Response:
    """Describe one session."""
    session = await request.app[SESSIONS].one(request[PRINCIPAL], request.match_info["session"])
    return json_response(_description(session))


@routes.delete("/session/{session}")
async def destroy_session(request: web.Request) -> web.Response:
    """End a session."""
    wish = DestroySession.model_validate(await read_parameters(request))
    service, principal, text = request.app[SESSIONS], request[PRINCIPAL], request.match_info["session"]
    if wish.recursive:
        all_ended = await service.destroy_with_dependants(principal, text, forced=wish.forced)
        return json_response([_stats(ended) for ended in all_ended])
    return json_response({"stats": _stats(await service.destroy(principal, text, forced=wish.forced))})


def _stats(ended: Session) -> dict[str, str]:
    return {"status": "cancelled" if ended.status is SessionStatus.CANCELLED else "terminated"}


@routes.patch("/session/{session}")
async def restart_session(request: web.Request) -> web.Response:
    """Replace a running session's containers, and answer when it runs again."""
    stays = partial(is_connected, request)
    await request.app[SESSIONS].restart(request[PRINCIPAL], request.match_info["session"], stays)
    return web.Response(status=204)


@routes.get("/session/{session}/dependency-graph")
async def dependency_graph(request: web.Request) -> web.Response:
    """Tell what the session depends on, as a tree."""
    tree = await request.app[SESSIONS].dependency_graph(request[PRINCIPAL], request.match_info["session"])
    return json_response(_tree(tree))


def _tree(node: DependencyNode) -> dict[str, object]:
    return {
        "session_id": str(node.session.id),
        "session_name": node.session.name,
        "status": f"KernelStatus.{node.session.main_kernel.status.value}",
        "status_changed": str(node.session.main_kernel.status_changed),
        "depends_on": [_tree(parent) for parent in node.depends_on],
    }


@routes.post("/session/{session}/rename")
async def rename_session(request: web.Request) -> web.Response:
    """Give a running session another name."""
    name = (await read_parameters(request)).get("name")
    if not isinstance(name, str):
        raise InvalidParametersError("Input validation error", data={"name": "is required"})
    await request.app[SESSIONS].rename(request[PRINCIPAL], request.match_info["session"], name)
    return web.Response(status=204)


@routes.get("/session/{session}/logs")
async def session_logs(request: web.Request) -> web.Response:
    """Return the log of the session's container, live or after its end."""
    kernel = (await read_parameters(request)).get("kernel_id")
    logs = await request.app[SESSIONS].logs(
        request[PRINCIPAL], request.match_info["session"], None if kernel is None else _uuid(str(kernel))
    )
    return json_response({"result": {"logs": logs.decode(errors="replace")}})


@routes.get("/session/{session}/status-history")
async def status_history(request: web.Request) -> web.Response:
    """Tell when the session came into each status: flat, and under ``result`` for the clients that look there."""
    session = await request.app[SESSIONS].one(request[PRINCIPAL], request.match_info["session"])
    history = {status.lower(): moment for status, moment in session.status_history.items()}
    return json_response({**history, "result": history})


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as err:
        raise InvalidParametersError("this is not a UUID") from err


def _description(session: Session) -> dict[str, object]:
    slots = _repr_slots(session.requested_slots.to_json())
    occupying = _repr_slots(session.occupying_slots.to_json())
    return {
        "domainName": session.domain_name,
        "groupId": str(session.project_id),
        "userId": str(session.user_id),
        "lang": session.image,
        "image": session.image,
        "architecture": session.architecture,
        "registry": session.registry,
        "tag": session.tag,
        "containerId": session.main_kernel.container_id or "",
        "occupiedSlots": occupying,
        "occupyingSlots": occupying,
        "requestedSlots": slots,
        "occupiedShares": "{}",
        "environ": repr(session.environ),
        "resourceOpts": repr({k.cluster_hostname: _resource_opts(session) for k in session.kernels}),
        "status": session.status.value,
        "statusInfo": session.status_info,
        "statusData": session.status_data,
        "age": int((datetime.now(UTC) - session.created_at).total_seconds() * 1000),
        "creationTime": str(session.created_at),
        "terminationTime": str(session.terminated_at) if session.terminated_at else None,
        "numQueriesExecuted": 0,
        "lastStat": None,
        "idleChecks": {},
    }


def _resource_opts(session: Session) -> dict[str, object]:
    return {**session.resource_opts, "shmem": shm_bytes(session.resource_opts)}


def _repr_slots(slots: dict[str, str]) -> str:
    """Return slots in the form of the real manager: the text of a Python dictionary of decimals."""
    return "{" + ", ".join(f"'{name}': Decimal('{amount}')" for name, amount in slots.items()) + "}"
