"""Makes a trace of kept passes, and reads such a trace: Caravan's own recording. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from caravan_common.errors import InvalidParametersError
from caravan_manager.scheduler.codec import decode, encode
from caravan_manager.scheduler.decisions.repository import Stay
from caravan_manager.scheduler.simulation.trace import Arrival, Held, Trace
from caravan_manager.scheduler.snapshot import Snapshot
from caravan_manager.sessions.queue import PendingSession

FORMAT = "caravan-trace-1"


@dataclass(frozen=True, slots=True)
class _File:
    format: str
    trace: Trace


def is_recording(head: str) -> bool:
    """Say whether a file with this first line is one."""
    return head.startswith(f'{{"format":"{FORMAT}"')


def write(trace: Trace) -> bytes:
    """Return a trace as a file."""
    return encode(_File(FORMAT, trace))


def read(raw: bytes) -> Trace:
    """Read what :func:`write` wrote. Raises InvalidParametersError."""
    try:
        return decode(_File, raw).trace
    except ValueError as err:
        raise InvalidParametersError(f"this is no recording: {err}") from err


class Recording:
    """Collects passes, the oldest first. Nodes, rules and quotas are those of the last one."""

    def __init__(self) -> None:
        self._first: Snapshot | None = None
        self._last: Snapshot | None = None
        self._came: dict[UUID, PendingSession] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Take a pass."""
        self._first = self._first or snapshot
        self._last = snapshot
        for session in snapshot.pending:
            self._came.setdefault(session.id, session)

    @property
    def sessions(self) -> list[UUID]:
        """The sessions of which it must be known how long they stayed."""
        held = self._first.placed if self._first is not None else ()
        return [*self._came, *(session.id for session in held)]

    def trace(self, stays: Mapping[UUID, Stay]) -> Trace:
        """Return the trace. Sessions that ended without a start are left out; those that never ended stay for ever."""
        if self._first is None or self._last is None:
            return Trace(())
        arrivals = [Arrival(s, _runs_for(stays[s.id])) for s in self._came.values() if _has_run(stays.get(s.id))]
        held = [Held(session, _ended(stays.get(session.id))) for session in self._first.placed]
        return Trace(
            arrivals=tuple(sorted(arrivals, key=lambda arrival: arrival.session.sequence)),
            nodes=tuple(replace(node, schedulable=True) for node in self._last.nodes),
            groups=self._last.groups,
            quotas=self._last.quotas,
            held=tuple(held),
            left_out=len(self._came) - len(arrivals),
        )


def _has_run(stay: Stay | None) -> bool:
    return stay is not None and stay.began is not None


def _runs_for(stay: Stay) -> timedelta | None:
    return None if stay.began is None or stay.ended is None else stay.ended - stay.began


def _ended(stay: Stay | None) -> datetime | None:
    return None if stay is None else stay.ended
