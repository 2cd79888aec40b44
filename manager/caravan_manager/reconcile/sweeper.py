"""Compares PostgreSQL with Nomad once a minute, and mends what the streams missed. The comparison is the truth."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from caravan_common.errors import CaravanError
from caravan_common.ids import job_id, session_of
from caravan_common.nomad.client import JobState, Nomad
from caravan_common.states import SessionStatus
from caravan_manager.nodes.service import NodesService
from caravan_manager.sessions import repository
from caravan_manager.sessions.model import ON_NODES, Session
from caravan_manager.sessions.moves import SessionMoves

log = structlog.get_logger()

GRACE = timedelta(seconds=20)
"""A session that moved so recently may still be on its way into or out of Nomad."""
SUBMITTED = tuple(ON_NODES - {SessionStatus.SCHEDULED})


@dataclass(frozen=True, slots=True)
class Mending:
    """What a comparison found: jobs that no live session wants, and sessions whose job is over or gone."""

    orphans: tuple[str, ...]
    vanished: tuple[UUID, ...]


def compare(
    sessions: Sequence[Session], jobs: Sequence[JobState], ends: Mapping[UUID, datetime | None], now: datetime
) -> Mending:
    """Find the differences. Pure.

    ``ends`` says when each job's session ended, None for a live one; a session that nobody knows is absent. A job goes
    on for a moment after its session, to clean up.
    """
    orphans: list[str] = []
    for job in jobs:
        session = session_of(job.id)
        if session is None or job.status == "dead" or job.stopped:
            continue
        ended = ends.get(session)
        if session not in ends or (ended is not None and now - ended > GRACE):
            orphans.append(job.id)
    settled = [s for s in sessions if now - s.status_changed > GRACE]
    listed = {job.id: job for job in jobs}
    over = [s.id for s in settled if (known := listed.get(job_id(s.id))) is None or known.status == "dead"]
    return Mending(tuple(orphans), tuple(over))


class Sweeper:
    """The loop of comparisons."""

    def __init__(
        self, moves: SessionMoves, nomad: Nomad, nodes: NodesService, *, every_seconds: float, lost_after_seconds: float
    ) -> None:
        self._moves = moves
        self._nomad = nomad
        self._nodes = nodes
        self._every = every_seconds
        self._lost_after = timedelta(seconds=lost_after_seconds)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.sweep()
            except (CaravanError, SQLAlchemyError, OSError):
                log.exception("sweep.failed")

    async def sweep(self) -> Mending:
        """Compare once, mend, and return what was found."""
        now = self._moves.clock()
        for name in await self._nodes.mark_lost(now - self._lost_after):
            log.warning("node.lost", node=name)
        # Jobs first: a session that is submitted after this has no job in the list, but is younger than the grace.
        jobs = await self._nomad.list_jobs()
        async with self._moves.begin() as tx:
            submitted = await repository.list_by_status(tx, SUBMITTED)
            ends = await repository.find_ends(tx, [s for job in jobs if (s := session_of(job.id)) is not None])
        found = compare(submitted, jobs, ends, now)
        for orphan in found.orphans:
            log.warning("sweep.orphan_job", job=orphan)
            await self._nomad.stop(orphan)
        for session in found.vanished:
            log.warning("sweep.vanished_session", session=str(session))
            await self._moves.apply(session, lambda s, at: s.vanished("lost", at))
        return found
