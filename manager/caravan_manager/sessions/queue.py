"""Sessions as the scheduler sees them: what waits, and what holds nodes. Values, no I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.quotas.model import Holder, Tenant, by_model
from caravan_manager.sessions.model import VICTIMS, Checks, HeldDevice, Parent, Seat, Session, checked

LAST = 2**62
"""The sequence of a session that was not submitted: behind all that were."""


LONGEST_START = timedelta(minutes=10)
"""How long a session with a time limit may take from its placement until it runs, and its limit begins."""


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """One kernel that wants a node."""

    id: UUID
    slots: ResourceSlots
    node: str | None = None
    """The one that its user designated for this kernel."""


@dataclass(frozen=True, slots=True)
class PendingSession:
    """A session in the queue. ``sequence`` is the order of submission, unique in the cluster.

    ``volumes`` are those of its folders, ``time_limit`` is how long it may run once it does (None: for ever), ``nodes``
    are those that its user designated (none: any), ``models`` the models of accelerators that will do (none: any),
    ``avoid`` the nodes that it takes only if there are no others.
    """

    id: UUID
    sequence: int
    priority: int
    type: SessionType
    scaling_group: str
    architecture: str
    cluster_mode: ClusterMode
    tenant: Tenant
    kernels: tuple[KernelRequest, ...]
    pending_since: datetime
    volumes: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()
    starts_at: datetime | None = None
    time_limit: timedelta | None = None
    parents: tuple[Parent, ...] = ()
    first_until: datetime | None = None
    """Until then it goes before others of its priority: sessions were ended for it."""
    endpoint: UUID | None = None
    """Of which endpoint it is a replica: a scaling group may spread these over its nodes."""

    @property
    def slots(self) -> ResourceSlots:
        """The sum over the kernels."""
        return _total(self.kernels)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whose quotas the session counts against, in the order in which they are looked at."""
        return self.tenant.holders(self.type)

    @property
    def slots_by_model(self) -> ResourceSlots:
        """The most that it may get on devices of each model that it names, under the names of such limits."""
        return ResourceSlots({by_model(s, model): amount for s, amount in self.slots.items() for model in self.models})

    def nodes_for(self, kernels: Iterable[KernelRequest]) -> frozenset[str]:
        """Return the nodes that are designated for some of the kernels; none means any."""
        designated = [kernel.node for kernel in kernels if kernel.node is not None]
        return frozenset(designated) if designated else self.nodes

    def anywhere(self) -> "PendingSession":
        """Return the session without designated nodes."""
        return replace(self, nodes=frozenset(), kernels=tuple(replace(kernel, node=None) for kernel in self.kernels))

    def goes_first(self, at: datetime) -> bool:
        """Whether sessions were ended for it, so recently that it goes before others of its priority."""
        return self.first_until is not None and at < self.first_until

    def latest_end(self, at: datetime, start: timedelta = timedelta()) -> datetime | None:
        """Return when it ends at the latest if it is placed then and takes so long to start; None without a limit."""
        return None if self.time_limit is None else at + start + self.time_limit

    def placed(
        self, seats: Iterable[tuple[UUID, Seat]], at: datetime, start: timedelta = timedelta()
    ) -> "PlacedSession":
        """Return the session as it is when its kernels hold what they were given."""
        wanted = {kernel.id: kernel.slots for kernel in self.kernels}
        return PlacedSession(
            id=self.id,
            priority=self.priority,
            type=self.type,
            scaling_group=self.scaling_group,
            tenant=self.tenant,
            placed_at=at,
            kernels=tuple(PlacedKernel(seat.node, wanted[kernel], seat.devices) for kernel, seat in seats),
            ends_at=self.latest_end(at, start),
            endpoint=self.endpoint,
        )


@dataclass(frozen=True, slots=True)
class PlacedKernel:
    """A kernel that holds slots of a node, and which devices they are."""

    node: str
    slots: ResourceSlots
    devices: tuple[HeldDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedSession:
    """A session that holds nodes, from its placement until nothing of it is left there.

    ``ends_at`` is when it ends at the latest; None where nobody knows, and for one whose end is under way.
    """

    id: UUID
    priority: int
    type: SessionType
    scaling_group: str
    tenant: Tenant
    placed_at: datetime
    kernels: tuple[PlacedKernel, ...]
    ends_at: datetime | None = None
    is_ending: bool = False
    """Whether its end has begun: what it holds is free soon."""
    is_unsettled: bool = False
    """Whether it is between two containers, or a gang that is taken down: it cannot be ended for another one now."""
    attempt: int = 1
    """Which of its attempts holds the nodes."""
    endpoint: UUID | None = None
    """Of which endpoint it is a replica."""

    @property
    def slots(self) -> ResourceSlots:
        """The sum over the kernels that still hold something."""
        return _total(self.kernels)

    @property
    def slots_by_model(self) -> ResourceSlots:
        """What it has of slots on devices of each model, under the names of such limits."""
        devices = [device for kernel in self.kernels for device in kernel.devices]
        each = (ResourceSlots({by_model(device.slot, device.model): device.amount}) for device in devices)
        return sum(each, ResourceSlots())

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whose quotas the session counts against."""
        return self.tenant.holders(self.type)


@dataclass(frozen=True, slots=True)
class PastUse:
    """What a user had of one slot in a project and domain: amount times seconds, decayed."""

    user: UUID
    project: UUID
    domain: str
    slot: str
    had: float


@dataclass(frozen=True, slots=True)
class QueuedSession:
    """A pending session, and what it was told so far."""

    session: PendingSession
    status_info: str
    status_data: dict[str, Any]

    @property
    def id(self) -> UUID:
        """The session's ID."""
        return self.session.id

    def waiting(self, info: str, checks: Checks, now: datetime) -> "QueuedSession":
        """Return the session with the reasons why it still waits, where clients of Backend.AI look for them."""
        return replace(self, status_info=info, status_data=checked(self.status_data, checks, now))

    def promised(self, victims: Sequence[UUID], until: datetime) -> "QueuedSession":
        """Return the session for which others are being ended: until then it goes first."""
        told = {"sessions": [str(victim) for victim in victims], "until": until.isoformat()}
        return replace(self, status_data=self.status_data | {VICTIMS: told})


@dataclass(frozen=True, slots=True)
class Named:
    """What a session is called, and whose it is."""

    name: str
    user: UUID
    domain: str
    email: str


def pending_of(session: Session, parents: Sequence[Session]) -> PendingSession:
    """Return a session that was not submitted as it would be in the queue, behind all others of its priority."""
    return PendingSession(
        id=session.id,
        sequence=LAST,
        priority=session.priority,
        type=session.type,
        scaling_group=session.scaling_group,
        architecture=session.architecture,
        cluster_mode=session.cluster_mode,
        tenant=Tenant(session.access_key, session.user_id, session.project_id, session.domain_name),
        kernels=kernel_requests([(kernel.id, kernel.slots) for kernel in session.kernels], session.designated),
        pending_since=session.status_changed,
        volumes=frozenset(mount.volume for mount in session.mounts),
        nodes=frozenset(session.designated),
        models=session.models,
        starts_at=session.starts_at,
        time_limit=session.batch_timeout,
        parents=tuple(Parent(parent.id, parent.name, parent.status, parent.result) for parent in parents),
        endpoint=session.endpoint,
    )


def kernel_requests(
    kernels: Sequence[tuple[UUID, ResourceSlots]], designated: Sequence[str]
) -> tuple[KernelRequest, ...]:
    """Return what kernels, by ID, want; each of several designated nodes is the one of the kernel at its place."""
    nodes = designated if len(designated) == len(kernels) else [None] * len(kernels)
    return tuple(KernelRequest(id_, slots, node) for (id_, slots), node in zip(kernels, nodes, strict=True))


def _total(kernels: Sequence[KernelRequest | PlacedKernel]) -> ResourceSlots:
    return kernels[0].slots if len(kernels) == 1 else reduce(add, (k.slots for k in kernels), ResourceSlots())
