"""What is said of a session that waits, or of a request that was not submitted: values without names or words."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from caravan_manager.quotas.model import Holder
from caravan_manager.scheduler.explaining.changes import Change
from caravan_manager.scheduler.snapshot import Cancellation, Obstacle, Placement, Reason


@dataclass(frozen=True, slots=True)
class QuotaState:
    """One limit that the session would pass: what its holder has, what the session asks for, and the limit.

    ``slot`` is None for the number of sessions.
    """

    holder: Holder
    slot: str | None
    has: Decimal
    asks: Decimal
    limit: Decimal

    @property
    def missing(self) -> Decimal:
        """By how much the limit would be passed."""
        return self.has + self.asks - self.limit


@dataclass(frozen=True, slots=True)
class DeviceState:
    """An accelerator: what it has left of the 1 that it gives. ``problem`` says why one is ill."""

    id: str
    slot: str
    model: str
    left: Decimal
    healthy: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Lack:
    """A slot of which a node has not enough: what is asked for, what it has left, and what it has in all."""

    slot: str
    asks: Decimal
    left: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node that could take a part of the session lacks, and who holds that; without lacks it has room.

    ``devices`` are those of the lacking slots.
    """

    node: str
    lacks: tuple[Lack, ...]
    devices: tuple[DeviceState, ...] = ()
    holders: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Obstruction:
    """A reason of the planner and the facts behind it; ``only_then`` says that it comes after those before it."""

    reason: Reason
    quotas: tuple[QuotaState, ...] = ()
    nodes: tuple[NodeState, ...] = ()
    sessions: tuple[UUID, ...] = ()
    closed: tuple[str, ...] = ()
    """Nodes of the scaling group that take no session because an operator closed them."""
    only_then: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """A session that waits and gets its turn before; whether room is kept for it."""

    session: UUID
    obstacle: Obstacle
    keeps_room: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Where the session stands among those of its scaling group that wait. ``position`` counts from 1."""

    scaling_group: str
    sequencer: str
    position: int
    length: int
    ahead: tuple[Ahead, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """With these changes, all of them, the planner starts the session here."""

    changes: tuple[Change, ...]
    placement: Placement


class Basis(StrEnum):
    """What an estimate rests on."""

    STARTS = "starts-now"
    RESERVED = "room-is-kept"
    """Room is kept from the moment when those who have it must have ended at the latest."""
    RESERVED_UNKNOWN = "room-is-kept-after-unknown-ends"
    """Room is kept, after sessions of which nobody knows when they end."""
    MADE = "others-are-ended"
    """Others are ended for it, by the scaling group's rules of preemption; their containers take a while."""
    LIMITS = "known-ends"
    """A run of the planner through the ends to come, each session running into its limit."""
    UNKNOWN = "unknown"
    NEVER = "not-as-things-are"
    """No node would do even if it were empty."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When the session starts: not before ``earliest``, and by ``latest`` if nothing else comes; None is not known."""

    earliest: datetime | None
    latest: datetime | None
    basis: Basis
    waits_for: tuple[UUID, ...] = ()
    """The sessions whose ends it waits for, those without a known end first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of it. Exactly one of placement, cancellation and queue is there.

    ``runs`` is how often the planner was asked; ``complete`` is False where a limit kept it from being asked more.
    """

    session: UUID
    taken_at: datetime
    placement: Placement | None
    cancellation: Cancellation | None
    queue: Queue | None
    obstructions: tuple[Obstruction, ...]
    counterfactuals: tuple[Counterfactual, ...]
    possible: tuple[Counterfactual, ...]
    """For a session that no node could ever take: with which changes it would start if nobody else was there."""
    estimate: Estimate
    runs: int
    complete: bool
