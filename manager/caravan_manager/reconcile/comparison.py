"""What the sweep finds: where PostgreSQL, Nomad and the agents disagree. Pure."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from caravan_common.ids import job_id, session_of
from caravan_common.nomad.client import JobState
from caravan_common.states import SessionStatus
from caravan_common.wire.agent import KernelState
from caravan_manager.sessions.model import COMING_UP, SessionState

GRACE = timedelta(seconds=20)
"""A session that moved so recently may still be on its way into or out of Nomad."""

Ends = Mapping[UUID, datetime | None]
"""When each session ended, None for a live one; a session that nobody knows is absent."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Jobs of dead sessions and of unknown ones, sessions whose job is over or gone, sessions that start too late.

    Unknown sessions' jobs are told and left alone: the database may be an older copy, and they somebody's work.
    """

    orphans: tuple[str, ...]
    strangers: tuple[str, ...]
    vanished: tuple[UUID, ...]
    late: tuple[UUID, ...]


def compare_with_nomad(
    sessions: Sequence[SessionState], jobs: Sequence[JobState], ends: Ends, now: datetime, start_limit: timedelta
) -> Differences:
    """Find what differs between the sessions that hold nodes and Nomad's jobs.

    ``jobs`` was read before ``sessions``: a younger session has no job in it, and is inside the grace.
    """
    listed = {job.id: job for job in jobs}
    running = [(job.id, s) for job in jobs if not job.is_over and (s := session_of(job.id)) is not None]
    orphans = [job for job, session in running if _is_over(session, ends, now)]
    strangers = [job for job, session in running if session not in ends]
    late = [s.id for s in sessions if s.status in COMING_UP and now - s.status_changed > start_limit]
    vanished = [s.id for s in sessions if s.id not in late and _has_vanished(s, listed, now)]
    return Differences(tuple(orphans), tuple(strangers), tuple(vanished), tuple(late))


def left_on_node(kernels: Sequence[KernelState], ends: Ends, known: Set[UUID], now: datetime) -> list[UUID]:
    """Return the kernels that an agent still holds although their session is over, or was placed anew without them.

    ``known`` are the kernels that belong to a session.
    """

    def is_left(held: KernelState) -> bool:
        was_replaced = held.session in ends and held.kernel not in known
        return was_replaced or _is_over(held.session, ends, now)

    return [held.kernel for held in kernels if is_left(held)]


def missed_starts(kernels: Sequence[KernelState], awaited: Mapping[UUID, UUID]) -> list[KernelState]:
    """Return the kernels that run although nobody told so; ``awaited`` is the session of each that is to start."""
    return [kernel for kernel in kernels if kernel.state == "running" and kernel.kernel in awaited]


def _is_over(session: UUID, ends: Ends, now: datetime) -> bool:
    """A session's job and kernels go on for a moment after its end, to clean up."""
    ended = ends.get(session)
    return ended is not None and now - ended > GRACE


def _has_vanished(session: SessionState, listed: Mapping[str, JobState], now: datetime) -> bool:
    """A session that was submitted must have a job that is not over."""
    if session.status is SessionStatus.SCHEDULED or now - session.status_changed <= GRACE:
        return False
    known = listed.get(job_id(session.id))
    return known is None or known.status == "dead"
