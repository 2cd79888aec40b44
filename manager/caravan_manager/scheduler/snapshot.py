"""What a plan is made from, and what it says: the interface between the loop, the planner, replay and explanation.

All of it is frozen and ordered, so that the same snapshot always gives the same plan.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType


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
    domain: str
    project: UUID
    kernels: tuple[KernelRequest, ...]
    volumes: frozenset[str] = frozenset()

    @property
    def slots(self) -> ResourceSlots:
        """The sum over the kernels."""
        total = ResourceSlots()
        for kernel in self.kernels:
            total = total + kernel.slots
        return total


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one pass may look at."""

    taken_at: datetime
    nodes: tuple[NodeView, ...]
    pending: tuple[SessionRequest, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """A session that starts now: the node of each kernel, in the order of the request's kernels."""

    session: UUID
    nodes: tuple[tuple[UUID, str], ...]


class Obstacle(StrEnum):
    """Why a session does not start in this pass."""

    NO_NODE_OF_GROUP = "no-node-of-scaling-group"
    NO_NODE_OF_ARCHITECTURE = "no-node-of-architecture"
    NO_NODE_WITH_VOLUMES = "no-node-with-volumes"
    LARGER_THAN_ANY_NODE = "larger-than-any-node"
    NO_ROOM = "no-available-instances"
    BEHIND_THE_HEAD = "behind-head-of-queue"


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that stays in the queue, and why: the obstacle and the names that it is about.

    ``about`` names nodes (for NO_ROOM those that would do if they had room), sessions (for BEHIND_THE_HEAD) or volumes
    (for NO_NODE_WITH_VOLUMES).
    """

    session: UUID
    obstacle: Obstacle
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass decided. Each pending session is in exactly one of the two."""

    placements: tuple[Placement, ...]
    waits: tuple[Wait, ...]
