"""What a plan is made from, and what it says: the interface between the loop, the planner, replay and explanation.

All of it is frozen and ordered, so that the same snapshot always gives the same plan.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.quotas.model import Holder, HolderKind, Quota
from caravan_manager.sessions.model import Parent


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the planner sees it. ``free`` is what the ledger has left of ``capacity``.

    ``volumes`` are the volumes whose folders can be mounted there.
    """

    name: str
    scaling_group: str
    architecture: str
    schedulable: bool
    capacity: ResourceSlots
    free: ResourceSlots
    volumes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GroupView:
    """A scaling group's rules. A session that waits for ``pending_timeout`` is cancelled; None means never."""

    name: str
    pending_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A quota, and what its holder has of it: the slots and the number of sessions that hold nodes."""

    quota: Quota
    used: ResourceSlots
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """One kernel that wants a node."""

    id: UUID
    slots: ResourceSlots


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A pending session. ``sequence`` is the order of submission, unique in the cluster.

    ``volumes`` are those of its folders.
    """

    id: UUID
    sequence: int
    priority: int
    type: SessionType
    scaling_group: str
    architecture: str
    cluster_mode: ClusterMode
    access_key: str
    user: UUID
    domain: str
    project: UUID
    kernels: tuple[KernelRequest, ...]
    pending_since: datetime
    volumes: frozenset[str] = frozenset()
    starts_at: datetime | None = None
    parents: tuple[Parent, ...] = ()

    @property
    def slots(self) -> ResourceSlots:
        """The sum over the kernels."""
        total = ResourceSlots()
        for kernel in self.kernels:
            total = total + kernel.slots
        return total

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whose quotas the session counts against, in the order in which they are looked at."""
        if self.type is SessionType.SYSTEM:
            return ((HolderKind.SYSTEM_KEYPAIR, self.access_key),)
        return (
            (HolderKind.KEYPAIR, self.access_key),
            (HolderKind.USER, str(self.user)),
            (HolderKind.PROJECT, str(self.project)),
            (HolderKind.DOMAIN, self.domain),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one pass may look at. A group or holder that is not in it has no rule or quota."""

    taken_at: datetime
    nodes: tuple[NodeView, ...]
    pending: tuple[SessionRequest, ...]
    groups: tuple[GroupView, ...] = ()
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """A session that starts now: the node of each kernel, in the order of the request's kernels."""

    session: UUID
    nodes: tuple[tuple[UUID, str], ...]


class Obstacle(StrEnum):
    """Why a session does not start in this pass. Those of CHECKS are named as Backend.AI names them."""

    NOT_YET = "reserved_time"
    DEPENDENCIES = "dependencies"
    CONCURRENCY = "concurrency"
    KEYPAIR_QUOTA = "keypair_resource_limit"
    USER_QUOTA = "user_resource_limit"
    PROJECT_QUOTA = "user_group_resource_limit"
    DOMAIN_QUOTA = "domain_resource_limit"
    NO_NODE_OF_GROUP = "no-node-of-scaling-group"
    NO_NODE_OF_ARCHITECTURE = "no-node-of-architecture"
    NO_NODE_WITH_VOLUMES = "no-node-with-volumes"
    LARGER_THAN_ANY_NODE = "larger-than-any-node"
    NO_ROOM = "no-available-instances"
    BEHIND_THE_HEAD = "behind-head-of-queue"


CHECKS = (
    Obstacle.NOT_YET,
    Obstacle.DEPENDENCIES,
    Obstacle.CONCURRENCY,
    Obstacle.KEYPAIR_QUOTA,
    Obstacle.USER_QUOTA,
    Obstacle.PROJECT_QUOTA,
    Obstacle.DOMAIN_QUOTA,
)
"""What is looked at before any node is, in this order; who fails one of them waits and keeps nobody."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One obstacle and the names that it is about.

    ``about`` names nodes (for NO_ROOM those that would do if they had room), volumes (for NO_NODE_WITH_VOLUMES),
    sessions (for BEHIND_THE_HEAD and DEPENDENCIES as ``name (id)``), or the holder of the quota. ``limit`` says what is
    allowed, where that is the point.
    """

    obstacle: Obstacle
    about: tuple[str, ...] = ()
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that stays in the queue, and why: at least one reason."""

    session: UUID
    reasons: tuple[Reason, ...]

    @property
    def obstacle(self) -> Obstacle:
        """The first obstacle."""
        return self.reasons[0].obstacle

    @property
    def about(self) -> tuple[str, ...]:
        """What the first obstacle is about."""
        return self.reasons[0].about


class EndReason(StrEnum):
    """Why a session never leaves the queue."""

    PENDING_TIMEOUT = "pending-timeout"
    DEPENDENCY_FAILED = "dependency-failed"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A session that is to be cancelled, and what that is about: sessions it depended on, or its scaling group."""

    session: UUID
    reason: EndReason
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass decided. Each pending session is in exactly one of the three."""

    placements: tuple[Placement, ...]
    waits: tuple[Wait, ...]
    cancellations: tuple[Cancellation, ...] = ()
