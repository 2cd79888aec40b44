"""A request for a session becomes a session: defaults from the image, limits, names. Pure."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import cast
from uuid import UUID

from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots, parse_bytes
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_common.wire.devices import kind_of
from caravan_manager.images.model import Image
from caravan_manager.nodes.model import HIGHEST_PRIORITY
from caravan_manager.nodes.slots import is_unique
from caravan_manager.people.model import Principal
from caravan_manager.sessions.durations import parse_moment
from caravan_manager.sessions.model import MODELS, Kernel, Session, SessionMount, check_environ, models_in
from caravan_manager.sessions.ports import choose_ports
from caravan_manager.vfolders.model import MountRequest

_NAME = re.compile(r"^(?=.{4,64}$)\w[\w.-]*\w$", re.ASCII)
MAX_PREOPEN_PORTS = 64
PREFERRED_SHMEM = "ai.backend.resource.preferred.shmem"
MAX_SCRIPT_BYTES = 64 * 1024
VALIDATION = "Input validation error"
MAX_DEPENDENCIES = 100
MAX_MODELS = 16
MAX_TOLD = 50
"""How many models that there are the refusal of an unknown one names."""
MAX_CLUSTER_SIZE = 1000
DEFAULT_SLOTS = ResourceSlots({"cpu": Decimal(1), "mem": Decimal(256 * 1024 * 1024)})


class UnknownSlotError(InvalidParametersError):
    """No node ever offered this slot."""


class UnknownModelError(InvalidParametersError):
    """No node ever had accelerators of this model."""


class ImageLimitError(InvalidParametersError):
    """The image's labels want more or less of a slot, or other accelerators."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a user asks for, parsed; nothing in it is looked up yet."""

    name: str
    image: str
    architecture: str
    type: SessionType
    project: str
    domain: str
    scaling_group: str | None
    priority: int
    tag: str | None
    cluster_mode: ClusterMode
    cluster_size: int
    resources: dict[str, object]
    resource_opts: dict[str, object]
    environ: dict[str, str] = field(repr=False)
    mounts: tuple[MountRequest, ...]
    startup_command: str | None = field(repr=False)
    bootstrap_script: str | None = field(repr=False)
    callback_url: str | None
    reuse: bool
    starts_at: str | None = None
    """A moment in ISO 8601 or a duration from now; only for batch sessions, as ``batch_timeout``."""
    batch_timeout: timedelta | None = None
    dependencies: tuple[str, ...] = ()
    """IDs or names of sessions that must succeed before this one starts."""
    preopen_ports: tuple[int, ...] = ()
    """Ports of the container that the user wants opened, 1024 to 65535."""
    agents: tuple[str, ...] = ()
    """The nodes on which it must be: of a multi-node session one for each container, else one."""

    def __post_init__(self) -> None:
        check_name(self.name)
        self._check_batch()
        check_priority(self.priority)
        if not 1 <= self.cluster_size <= MAX_CLUSTER_SIZE:
            raise InvalidParametersError(VALIDATION, data={"cluster_size": f"must be from 1 to {MAX_CLUSTER_SIZE}"})
        if len(self.dependencies) > MAX_DEPENDENCIES:
            raise InvalidParametersError(f"a session can depend on {MAX_DEPENDENCIES} others at most")
        if len(self.preopen_ports) > MAX_PREOPEN_PORTS:
            raise InvalidParametersError(f"a session opens {MAX_PREOPEN_PORTS} ports at most")
        self._check_agents()
        self._check_models()
        _check_text(self.startup_command, "startup command")
        _check_text(self.bootstrap_script, "bootstrap script")
        check_environ(self.environ)

    @property
    def models(self) -> tuple[str, ...]:
        """The models of accelerators that will do; none for any. The command line joins them by commas."""
        given = self.resource_opts.get(MODELS)
        parts = cast("list[object]", given) if isinstance(given, list) else [given or ""]
        return tuple(models_in(",".join(map(str, parts))))

    def _check_agents(self) -> None:
        """Refuse as Backend.AI does."""
        if not self.agents:
            return
        if self.cluster_mode is ClusterMode.MULTI_NODE:
            if len(self.agents) != self.cluster_size:
                raise InvalidParametersError(
                    "For multi-node cluster sessions, the number of manually assigned agents must be same to the"
                    " cluster size. Note that you may specify duplicate agents in the list."
                )
        elif len(self.agents) != 1:
            raise InvalidParametersError(
                "For non-cluster sessions and single-node cluster sessions, you may specify only one manually"
                " assigned agent."
            )

    def _check_models(self) -> None:
        if len(self.models) > MAX_MODELS:
            raise InvalidParametersError(f"a session names {MAX_MODELS} models of accelerators at most")

    def _check_batch(self) -> None:
        if self.type is SessionType.BATCH:
            if not (self.startup_command or "").strip():
                raise InvalidParametersError("Batch sessions must have a non-empty startup command.")
            if self.batch_timeout is not None and self.batch_timeout <= timedelta():
                raise InvalidParametersError("batch_timeout must be longer than nothing")
            return
        for name, value in (("starts_at", self.starts_at), ("batch_timeout", self.batch_timeout)):
            if value is not None:
                raise InvalidParametersError(f"Parameter {name} should be used only for batch sessions")


def check_name(name: str) -> None:
    """Raise InvalidParametersError unless this can be a session's name."""
    if not _NAME.fullmatch(name):
        raise InvalidParametersError(VALIDATION, data={"name": f"does not match pattern {_NAME.pattern}"})


def check_priority(priority: int, most: int = HIGHEST_PRIORITY) -> None:
    """Raise InvalidParametersError unless this can be a session's priority, of at most ``most``."""
    if not 0 <= priority <= most:
        wrong = "less than 0" if priority < 0 else f"greater than {most}"
        raise InvalidParametersError(VALIDATION, data={"priority": f"value is {wrong}"})


def _check_text(text: str | None, what: str) -> None:
    if text is not None and len(text.encode()) > MAX_SCRIPT_BYTES:
        raise InvalidParametersError(f"the {what} is larger than {MAX_SCRIPT_BYTES} bytes")
    if text is not None and "\0" in text:
        raise InvalidParametersError(f"the {what} holds a NUL character")


def new_session(
    request: SessionRequest,
    owner: Principal,
    *,
    project: UUID,
    scaling_group: str,
    image: Image,
    offered: Collection[str],
    models: Collection[str],
    mounts: tuple[SessionMount, ...],
    now: datetime,
    new_id: Callable[[], UUID],
) -> Session:
    """Return the PENDING session of a request; ``offered`` are the slots that some node has, and ``models``.

    Raises InvalidParametersError when the resources cannot be.
    """
    session = new_id()
    slots = _slots(request, image, offered)
    _check_models(request.models, models, slots)
    kernels = tuple(_kernel(session, new_id(), rank, slots, now) for rank in range(request.cluster_size))
    return Session(
        id=session,
        name=request.name,
        type=request.type,
        priority=request.priority,
        tag=request.tag,
        domain_name=owner.domain_name,
        project_id=project,
        user_id=owner.user_id,
        access_key=owner.access_key,
        scaling_group=scaling_group,
        image=image.reference,
        registry=image.registry,
        architecture=image.architecture,
        cluster_mode=request.cluster_mode,
        requested_slots=sum((kernel.slots for kernel in kernels), ResourceSlots()),
        resource_opts=_resource_opts(request, slots, image),
        environ=request.environ,
        mounts=mounts,
        startup_command=request.startup_command if request.type is SessionType.BATCH else None,
        bootstrap_script=request.bootstrap_script,
        service_ports=choose_ports(image.labels, request.preopen_ports),
        callback_url=request.callback_url,
        status=SessionStatus.PENDING,
        status_info="",
        status_data={},
        status_changed=now,
        status_history={SessionStatus.PENDING.value: now.isoformat()},
        result=SessionResult.UNDEFINED,
        created_at=now,
        scheduled_at=None,
        terminated_at=None,
        kernels=kernels,
        starts_at=parse_moment(request.starts_at, now) if request.starts_at else None,
        batch_timeout=request.batch_timeout,
        designated=request.agents,
    )


def _kernel(session: UUID, kernel: UUID, rank: int, slots: ResourceSlots, now: datetime) -> Kernel:
    """Return the kernel of a rank: ``main1``, then ``sub1`` …, each with all the slots that were asked for."""
    return Kernel(
        id=kernel,
        session_id=session,
        cluster_role="main" if rank == 0 else "sub",
        cluster_idx=max(1, rank),
        slots=slots,
        status=SessionStatus.PENDING,
        status_changed=now,
        created_at=now,
    )


def _slots(request: SessionRequest, image: Image, offered: Collection[str]) -> ResourceSlots:
    """Return the slots: what was asked for, for cpu and memory else what the image needs at least, then the defaults.

    A zero asks for nothing: it is as if the slot were not named. What an image needs of accelerators it needs of the
    kind that was asked for: images name several kinds.
    """
    asked = ResourceSlots.parse({n: v for n, v in request.resources.items() if v is not None})
    wanted = {name: amount for name, amount in asked.items() if amount > 0}
    least = image.minimum_slots
    slots = {**DEFAULT_SLOTS, **{name: least[name] for name in DEFAULT_SLOTS if name in least}, **wanted}
    for name, amount in least.items():
        if slots.get(name, amount) < amount:
            raise ImageLimitError(
                "Your resource request is smaller than the minimum required by the image.",
                slot=name,
                minimum=format(amount, "f"),
            )
    _check_maximum(slots, image.maximum_slots)
    unknown = sorted(name for name in slots if name not in DEFAULT_SLOTS and name not in offered)
    if unknown:
        raise UnknownSlotError(f"no node offers {', '.join(unknown)}")
    _check_unique(slots)
    kinds = sorted({kind_of(name) for name in slots if name not in DEFAULT_SLOTS})
    if len(kinds) > 1:
        raise InvalidParametersError(f"a session has accelerators of one kind, not of {' and '.join(kinds)}")
    if foreign := [kind for kind in kinds if not image.is_made_for(kind)]:
        raise ImageLimitError(
            "Your resource request has resource type(s) not supported by the image.",
            unsupported=foreign,
            accelerators=list(image.accelerators),
        )
    return ResourceSlots(slots)


def _check_maximum(slots: Mapping[str, Decimal], most: ResourceSlots) -> None:
    for name, amount in most.items():
        if slots.get(name, amount) > amount:
            raise ImageLimitError(
                "Your resource request is larger than the maximum allowed by the image.",
                slot=name,
                maximum=format(amount, "f"),
            )


def _check_unique(slots: Mapping[str, Decimal]) -> None:
    """Refuse parts, and more than one, of what a container has one of or none."""
    for name, amount in slots.items():
        if is_unique(name) and amount != 1:
            raise InvalidParametersError(
                f"a container has one {name} or none, not {amount.normalize():f}; ask for more containers"
                " (cluster_size), or for another slot",
                slot=name,
            )
    accelerators = sorted(slots.keys() - DEFAULT_SLOTS.keys())
    if len(accelerators) > 1 and any(is_unique(name) for name in accelerators):
        raise InvalidParametersError(f"a container has only one of {' and '.join(accelerators)}")


def _check_models(wanted: Sequence[str], known: Collection[str], slots: ResourceSlots) -> None:
    """Refuse models of which there is none, and models of nothing."""
    if wanted and not slots.keys() - DEFAULT_SLOTS.keys():
        raise InvalidParametersError(f"{MODELS} is for sessions that ask for accelerators")
    if unknown := [model for model in wanted if model not in known]:
        raise UnknownModelError(
            f"no node has accelerators of model {', '.join(unknown)}", unknown=unknown, models=sorted(known)[:MAX_TOLD]
        )


def _resource_opts(request: SessionRequest, slots: ResourceSlots, image: Image) -> dict[str, str]:
    """Return what the session is to have besides its slots; the image may prefer a size of /dev/shm."""
    opts = {name: str(value) for name, value in request.resource_opts.items() if value is not None and name != MODELS}
    if request.models:
        opts[MODELS] = ",".join(request.models)
    if not opts.get("shmem") and (preferred := image.labels.get(PREFERRED_SHMEM)):
        opts["shmem"] = preferred
    if "shmem" in opts and parse_bytes(opts["shmem"]) >= slots["mem"]:
        raise InvalidParametersError("Shared memory should be less than the main memory.")
    return opts
