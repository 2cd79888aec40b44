"""What comes after a plan if nothing else does: its sessions hold what they got, others end when they must. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from caravan_manager.scheduler.snapshot import Placement, Plan, Snapshot
from caravan_manager.sessions.queue import PendingSession, PlacedKernel, PlacedSession


def placed_as(placement: Placement, asked: PendingSession, at: datetime) -> PlacedSession:
    """Return a session as it is when it holds what it was given, and runs from then on."""
    wanted = {kernel.id: kernel.slots for kernel in asked.kernels}
    return PlacedSession(
        id=asked.id,
        priority=asked.priority,
        type=asked.type,
        scaling_group=asked.scaling_group,
        tenant=asked.tenant,
        placed_at=at,
        kernels=tuple(PlacedKernel(seat.node, wanted[kernel], seat.devices) for kernel, seat in placement.seats),
        ends_at=None if asked.time_limit is None else at + asked.time_limit,
    )


def started_in(snapshot: Snapshot, decided: Plan) -> tuple[PlacedSession, ...]:
    """Return the sessions that a plan starts, as they hold their nodes then."""
    asked = {session.id: session for session in snapshot.pending}
    return tuple(placed_as(p, asked[p.session], snapshot.taken_at) for p in decided.placements)


def after(snapshot: Snapshot, decided: Plan) -> Snapshot:
    """Return the snapshot at the same moment when the plan is carried out, and those that were ending are gone."""
    over = {p.session for p in decided.placements} | {c.session for c in decided.cancellations}
    return replace(
        snapshot,
        pending=tuple(session for session in snapshot.pending if session.id not in over),
        placed=tuple(s for s in snapshot.placed if not s.is_ending) + started_in(snapshot, decided),
    )


def next_moment(snapshot: Snapshot) -> datetime | None:
    """Return when the next session must end, or may start for the first time; None when nobody knows of any."""
    ends = [s.ends_at for s in snapshot.placed if s.ends_at is not None]
    begins = [s.starts_at for s in snapshot.pending if s.starts_at is not None and s.starts_at > snapshot.taken_at]
    return max(min([*ends, *begins]), snapshot.taken_at) if ends or begins else None


def at(moment: datetime, snapshot: Snapshot) -> Snapshot:
    """Return the snapshot at a later moment: who must have ended by then has."""
    placed: Sequence[PlacedSession] = [s for s in snapshot.placed if s.ends_at is None or s.ends_at > moment]
    return replace(snapshot, taken_at=moment, placed=tuple(placed))
