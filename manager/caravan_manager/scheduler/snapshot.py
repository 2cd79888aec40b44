"""What a plan is made from, and what it says: the interface between the loop, the planner, replay and explanation.

All of it is frozen and ordered, so that the same snapshot always gives the same plan.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import Quota
from caravan_manager.scheduler.sequencers.sequencer import Past
from caravan_manager.sessions.model import Seat
from caravan_manager.sessions.queue import PendingSession, PlacedSession


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the planner sees it: what it has when nobody uses it.

    ``volumes`` are the volumes whose folders can be mounted there.
    """

    name: str
    scaling_group: str
    architecture: str
    schedulable: bool
    capacity: ResourceSlots
    devices: tuple[Device, ...] = ()
    volumes: frozenset[str] = frozenset()


class PreemptionOrder(StrEnum):
    """Whose end costs least: ``least_work`` is the smallest product of share and time, the others are Backend.AI's."""

    LEAST_WORK = "least_work"
    OLDEST = "oldest"
    NEWEST = "newest"
    FEWEST_SESSIONS = "fewest_sessions"
    SMALLEST_RESOURCES = "smallest_resources"


class VictimScope(StrEnum):
    """Whose sessions may be ended for a session: those of the same user, project or domain, or anybody's."""

    USER = "user"
    PROJECT = "project"
    DOMAIN = "domain"
    ANY = "any"


class PreemptionMode(StrEnum):
    """What becomes of a session that is ended for another one: it is over, or goes back into the queue."""

    TERMINATE = "terminate"
    RESCHEDULE = "reschedule"


@dataclass(frozen=True, slots=True)
class PreemptionRules:
    """Who may be ended for a session of higher priority: those of at most ``preemptible_priority``.

    ``min_runtime`` is how long a session has its slots for certain, ``grace`` for how long it goes on when it was told
    that it is to end.
    """

    preemptible_priority: int = 5
    order: PreemptionOrder = PreemptionOrder.LEAST_WORK
    mode: PreemptionMode = PreemptionMode.TERMINATE
    min_runtime: timedelta = timedelta()
    scope: VictimScope = VictimScope.USER
    grace: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class GroupView:
    """A scaling group's rules. A session that waits for ``pending_timeout`` is cancelled; None means never.

    ``sequencer`` and ``selector`` are names of plugins, ``options`` what an operator set for them. Without
    ``preemption`` nobody is ended for another one. With ``spread_replicas`` a session of an endpoint goes to the nodes
    that have the fewest of its sessions, as far as these have room.
    """

    name: str
    sequencer: str = "fifo"
    selector: str = "packed"
    pending_timeout: timedelta | None = None
    preemption: PreemptionRules | None = None
    options: dict[str, object] = field(default_factory=dict[str, object])
    spread_replicas: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one pass may look at. A group or holder that is not in it has no rule or quota.

    What is left of nodes and quotas is not in it: it is what ``placed``, every session that holds nodes, leaves.
    """

    taken_at: datetime
    nodes: tuple[NodeView, ...]
    pending: tuple[PendingSession, ...]
    placed: tuple[PlacedSession, ...] = ()
    groups: tuple[GroupView, ...] = ()
    quotas: tuple[Quota, ...] = ()
    past: tuple[tuple[str, Past], ...] = ()
    """What tenants had lately of each scaling group whose sequencer asks for it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A session that starts now: the seat of each kernel, in the order of the request's kernels."""

    session: UUID
    seats: tuple[tuple[UUID, Seat], ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Room that is kept for a session that does not fit yet: on these nodes, from then on; None is not known."""

    session: UUID
    nodes: tuple[str, ...]
    starts_at: datetime | None


@dataclass(frozen=True, slots=True)
class Preemption:
    """A session that is to end, so that another one starts."""

    victim: UUID
    mode: PreemptionMode
    session: UUID
    attempt: int = 1
    """Which attempt of the victim is meant."""
    grace: timedelta = timedelta()
    """For how long the victim may go on."""


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
    NOT_DESIGNATED = "no-designated-node"
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
    allowed, where that is the point: of a quota, or of the parts of a device that can be had.
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
class Trouble:
    """A plugin that failed or took too long, so that the default one decided."""

    plugin: str
    error: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass decided. Each pending session is in exactly one of the first three."""

    placements: tuple[Placement, ...]
    waits: tuple[Wait, ...]
    cancellations: tuple[Cancellation, ...] = ()
    reserved: tuple[Reserved, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
