"""What could be changed so that a session starts: each is a value that makes one snapshot of another. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_manager.quotas.model import Holder, Quota
from caravan_manager.scheduler.snapshot import Snapshot
from caravan_manager.sessions.queue import KernelRequest, PendingSession


class Change(Protocol):
    """One change."""

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Return the snapshot with the change made for a pending session."""
        ...


def apply_all(changes: Sequence[Change], snapshot: Snapshot, session: UUID) -> Snapshot:
    """Return the snapshot with all of the changes, in their order."""
    for change in changes:
        snapshot = change.apply(snapshot, session)
    return snapshot


def _changed(snapshot: Snapshot, session: UUID, change: Callable[[PendingSession], PendingSession]) -> Snapshot:
    return replace(snapshot, pending=tuple(change(s) if s.id == session else s for s in snapshot.pending))


def _each_kernel(snapshot: Snapshot, session: UUID, change: Callable[[KernelRequest], KernelRequest]) -> Snapshot:
    return _changed(snapshot, session, lambda s: replace(s, kernels=tuple(map(change, s.kernels))))


@dataclass(frozen=True, slots=True)
class TimeComes:
    """The moment before which it must not start has come."""

    moment: datetime

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Let it start at any time."""
        return _changed(snapshot, session, lambda s: replace(s, starts_at=None))


@dataclass(frozen=True, slots=True)
class DependenciesSucceed:
    """The sessions that it depends on, as ``name (id)``, have succeeded."""

    parents: tuple[str, ...]

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Let it depend on none."""
        return _changed(snapshot, session, lambda s: replace(s, parents=()))


@dataclass(frozen=True, slots=True)
class MoreQuota:
    """A holder of a quota may have more: so much of slots, and so many sessions."""

    holder: Holder
    slots: ResourceSlots
    sessions: int = 0

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Raise the limits."""
        del session  # a quota is everybody's who counts against it
        return replace(
            snapshot, quotas=tuple(self._raised(q) if q.holder == self.holder else q for q in snapshot.quotas)
        )

    def _raised(self, quota: Quota) -> Quota:
        sessions = None if quota.sessions is None else quota.sessions + self.sessions
        return replace(quota, slots=quota.slots.raised(self.slots), sessions=sessions)


@dataclass(frozen=True, slots=True)
class SmallerKernels:
    """No kernel asks for more than this of these slots; ``before`` is what the largest asked for."""

    most: ResourceSlots
    before: ResourceSlots

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Lower what the kernels ask for."""
        return _each_kernel(snapshot, session, self._smaller)

    def _smaller(self, kernel: KernelRequest) -> KernelRequest:
        slots = {slot: min(amount, self.most.get(slot, amount)) for slot, amount in kernel.slots.items()}
        return replace(kernel, slots=ResourceSlots(slots))


@dataclass(frozen=True, slots=True)
class FewerKernels:
    """It has only its first kernels."""

    count: int
    before: int

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Leave the others out."""
        return _changed(snapshot, session, lambda s: replace(s, kernels=s.kernels[: self.count]))


@dataclass(frozen=True, slots=True)
class OtherModels:
    """Accelerators of these models will do, and no others; none means any."""

    models: frozenset[str]

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Let it ask for them."""
        return _changed(snapshot, session, lambda s: replace(s, models=self.models))


@dataclass(frozen=True, slots=True)
class OtherSlot:
    """It asks for as much of another slot of the same kind of accelerator; of whole ones where they are not shared."""

    before: str
    after: str

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Replace the slot."""
        return _each_kernel(snapshot, session, self._other)

    def _other(self, kernel: KernelRequest) -> KernelRequest:
        slots = dict(kernel.slots)
        amount = slots.pop(self.before, None)
        if amount is not None:
            slots[self.after] = slots.get(self.after, Decimal(0)) + amount
        return replace(kernel, slots=ResourceSlots(slots))


@dataclass(frozen=True, slots=True)
class OtherGroup:
    """It waits in another scaling group."""

    name: str

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Move it there."""
        return _changed(snapshot, session, lambda s: replace(s, scaling_group=self.name))


@dataclass(frozen=True, slots=True)
class AnyNode:
    """Any node will do, not only the designated ones."""

    designated: frozenset[str]

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Forget the designation."""
        return _changed(snapshot, session, PendingSession.anywhere)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """It runs no longer than this."""

    limit: timedelta

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Limit its time."""
        return _changed(snapshot, session, lambda s: replace(s, time_limit=self.limit))


@dataclass(frozen=True, slots=True)
class HigherPriority:
    """It has a higher priority."""

    priority: int

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Raise the priority."""
        return _changed(snapshot, session, lambda s: replace(s, priority=self.priority))


@dataclass(frozen=True, slots=True)
class SessionsGone:
    """Other sessions are over, or not in the queue any more."""

    sessions: tuple[UUID, ...]

    def apply(self, snapshot: Snapshot, session: UUID) -> Snapshot:
        """Leave them out."""
        gone = frozenset(self.sessions) - {session}
        return replace(
            snapshot,
            pending=tuple(s for s in snapshot.pending if s.id not in gone),
            placed=tuple(s for s in snapshot.placed if s.id not in gone),
        )
