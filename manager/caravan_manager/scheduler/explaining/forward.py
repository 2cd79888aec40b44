"""What comes after a plan if nothing else does: its sessions hold what they got, others end when they must. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from caravan_manager.scheduler.snapshot import Plan, Snapshot
from caravan_manager.sessions.queue import PlacedSession


def started_in(snapshot: Snapshot, decided: Plan) -> tuple[PlacedSession, ...]:
    """Return the sessions that a plan starts, as they hold their nodes then."""
    asked = {session.id: session for session in snapshot.pending}
    return tuple(asked[p.session].placed(p.seats, snapshot.taken_at) for p in decided.placements)


def after(snapshot: Snapshot, decided: Plan) -> Snapshot:
    """Return the snapshot at the same moment when the plan is carried out, and those that were ending are gone.

    Those of them that have time left go on until it is over.
    """
    over = {p.session for p in decided.placements} | {c.session for c in decided.cancellations}
    return replace(
        snapshot,
        pending=tuple(session for session in snapshot.pending if session.id not in over),
        placed=tuple(s for s in snapshot.placed if not s.is_ending or _has_time(s, snapshot.taken_at))
        + started_in(snapshot, decided),
    )


def _has_time(session: PlacedSession, now: datetime) -> bool:
    return session.ends_at is not None and session.ends_at > now


def next_moment(snapshot: Snapshot) -> datetime | None:
    """Return when the next session must end, or may start for the first time; None when nobody knows of any."""
    ends = [s.ends_at for s in snapshot.placed if s.ends_at is not None]
    begins = [s.starts_at for s in snapshot.pending if s.starts_at is not None and s.starts_at > snapshot.taken_at]
    return max(min([*ends, *begins]), snapshot.taken_at) if ends or begins else None


def at(moment: datetime, snapshot: Snapshot) -> Snapshot:
    """Return the snapshot at a later moment: who must have ended by then has."""
    placed: Sequence[PlacedSession] = [s for s in snapshot.placed if s.ends_at is None or s.ends_at > moment]
    return replace(snapshot, taken_at=moment, placed=tuple(placed))
