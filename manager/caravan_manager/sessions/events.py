"""What a move of a session means to those who follow it: events with the names and facts that clients know.

Pure. A move may enter several states at once; each entered state that clients know is one event, in the order in which
Backend.AI tells them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from caravan_common.states import SessionResult, SessionStatus
from caravan_manager.people.model import Principal
from caravan_manager.sessions.illness import illnesses
from caravan_manager.sessions.model import Kernel, Session

_OF_KERNEL = {
    SessionStatus.PREPARING: "kernel_preparing",
    SessionStatus.PULLING: "kernel_pulling",
    SessionStatus.CREATING: "kernel_creating",
    SessionStatus.RUNNING: "kernel_started",
    SessionStatus.TERMINATING: "kernel_terminating",
    SessionStatus.TERMINATED: "kernel_terminated",
    SessionStatus.CANCELLED: "kernel_cancelled",
    SessionStatus.ERROR: "kernel_cancelled",
}
_OF_SESSION = {
    SessionStatus.SCHEDULED: "session_scheduled",
    SessionStatus.RUNNING: "session_started",
    SessionStatus.TERMINATING: "session_terminating",
    SessionStatus.TERMINATED: "session_terminated",
    SessionStatus.CANCELLED: "session_cancelled",
    SessionStatus.ERROR: "session_cancelled",
}
"""A session becomes ERROR only before it runs; Backend.AI cancels it then, and clients stop waiting at that word."""
_OF_RESULT = {SessionResult.SUCCESS: "session_success", SessionResult.FAILURE: "session_failure"}
_BEFORE_KERNELS = frozenset({SessionStatus.SCHEDULED, SessionStatus.TERMINATING})
"""States that the session tells of before its kernels do; the others are the sum of what happened to the kernels."""
_ENDING = frozenset({SessionStatus.TERMINATING, SessionStatus.TERMINATED})

UNKNOWN_EXIT = -1
"""The exit code of a kernel that ends, as long as nobody knows it."""

DEVICE_ILL, DEVICE_WELL = "kernel_device_unhealthy", "kernel_device_recovered"
"""Caravan's own, which clients that do not know them pass over; the reason says which device, and what is wrong."""
LAST = frozenset({"session_terminated", "session_cancelled"})
"""After one of these nothing more is told of a session."""
SCOPES = frozenset({"session", "kernel"})
Subject = UUID | tuple[str | None, str] | None
"""What a follower is after: one session, an access key's sessions of one name, or, as None, all that is told."""


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One event of a session, or of one of its kernels; with what decides who may see it."""

    name: str
    session: UUID
    session_name: str
    access_key: str
    user: UUID
    project: UUID
    domain: str
    reason: str
    exit_code: int | None = None
    kernel: UUID | None = None
    cluster_role: str | None = None
    cluster_idx: int | None = None

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The subjects whose followers may want the event."""
        return (None, self.session, (self.access_key, self.session_name))

    def to_json(self) -> dict[str, object]:
        """Return what clients get: ``sessionId, sessionName, ownerAccessKey, reason, exitCode``, and for a kernel's
        event ``kernelId, clusterRole, clusterIdx`` (source: records of the real manager 25.5.2).
        """
        told: dict[str, object] = {
            "reason": self.reason,
            "sessionName": self.session_name,
            "ownerAccessKey": self.access_key,
            "sessionId": str(self.session),
            "exitCode": self.exit_code,
        }
        if self.kernel is not None:
            told |= {"kernelId": str(self.kernel), "clusterRole": self.cluster_role, "clusterIdx": self.cluster_idx}
        return told


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events somebody wants, of those that the viewer may see. None means any.

    ``session`` overrides ``session_name``, which means the sessions of that name that belong to ``access_key``.
    """

    viewer: Principal
    scopes: frozenset[str] = SCOPES
    session: UUID | None = None
    session_name: str | None = None
    access_key: str | None = None
    projects: frozenset[UUID] | None = None

    @property
    def subject(self) -> Subject:
        """What all wanted events are about: each has it among its ``subjects``."""
        if self.session is not None:
            return self.session
        return None if self.session_name is None else (self.access_key, self.session_name)

    def wants(self, event: SessionEvent) -> bool:
        """Whether the event is asked for, and the viewer may see it."""
        if not self._may_see(event) or event.name.partition("_")[0] not in self.scopes:
            return False
        if self.projects is not None and event.project not in self.projects:
            return False
        if self.session is not None:
            return event.session == self.session
        if self.session_name is None:
            return True
        return event.session_name == self.session_name and event.access_key == self.access_key

    def ends_with(self, event: SessionEvent) -> bool:
        """Whether nothing that is asked for can come after the event: it ends the one session that is followed."""
        return event.session == self.session and event.name in LAST and self._may_see(event)

    def _may_see(self, event: SessionEvent) -> bool:
        if self.viewer.is_superadmin or event.user == self.viewer.user_id:
            return True
        return self.viewer.is_admin and event.domain == self.viewer.domain_name


def events_of(before: Session | None, after: Session) -> tuple[SessionEvent, ...]:
    """Return what a move means; ``before`` is None for a session that was just made."""
    if before is None:
        return (_of_session("session_enqueued", after),)
    entered = _entered(before, after)
    return (
        *_result(before, after),
        *(_of_session(_OF_SESSION[status], after) for status in entered if status in _BEFORE_KERNELS),
        *_kernels_entered(before, after),
        *(_of_session(_OF_SESSION[status], after) for status in entered if status not in _BEFORE_KERNELS),
        *_devices(before, after),
    )


def last_event(session: Session) -> SessionEvent | None:
    """Return the event that a session ended with; None while it lives."""
    return _of_session(_OF_SESSION[session.status], session) if session.is_dead else None


def _entered(before: Session, after: Session) -> list[SessionStatus]:
    """Return the states that clients know and that the session came into, also those that it left at once."""
    history = after.status_history.items()
    passed = [SessionStatus(status) for status, moment in history if before.status_history.get(status) != moment]
    last = [after.status] if after.status is not before.status else []
    return [status for status in [*(s for s in passed if s not in last), *last] if status in _OF_SESSION]


def _result(before: Session, after: Session) -> Iterator[SessionEvent]:
    if after.result is not before.result and after.result in _OF_RESULT:
        code = after.main_kernel.exit_code
        yield _of_session(_OF_RESULT[after.result], after, UNKNOWN_EXIT if code is None else code)


def _kernels_entered(before: Session, after: Session) -> Iterator[SessionEvent]:
    known = {kernel.id: kernel.status for kernel in before.kernels}
    for kernel in after.kernels:
        if known.get(kernel.id) is not kernel.status and kernel.status in _OF_KERNEL:
            yield _of_kernel(_OF_KERNEL[kernel.status], after, kernel)


def _devices(before: Session, after: Session) -> Iterator[SessionEvent]:
    """Give what kernels are told of their devices; a kernel that is gone is told nothing."""
    known, ill = illnesses(before.status_data), illnesses(after.status_data)
    for key in sorted(known.keys() ^ ill.keys()):
        illness = ill.get(key) or known[key]
        name, problem = (DEVICE_ILL, f": {illness.problem}") if key in ill else (DEVICE_WELL, "")
        kernel = after.kernel(illness.kernel_id)
        if kernel is not None and not kernel.is_dead:
            reason = f"{illness.slot} {illness.device}{problem}"
            yield replace(_of_kernel(name, after, kernel), reason=reason)


def _of_session(name: str, session: Session, exit_code: int | None = None) -> SessionEvent:
    return SessionEvent(
        name=name,
        session=session.id,
        session_name=session.name,
        access_key=session.access_key,
        user=session.user_id,
        project=session.project_id,
        domain=session.domain_name,
        reason=session.status_info or "unknown",
        exit_code=exit_code,
    )


def _of_kernel(name: str, session: Session, kernel: Kernel) -> SessionEvent:
    return replace(
        _of_session(name, session),
        reason=session.status_info,
        exit_code=UNKNOWN_EXIT if kernel.exit_code is None and kernel.status in _ENDING else kernel.exit_code,
        kernel=kernel.id,
        cluster_role=kernel.cluster_role,
        cluster_idx=kernel.cluster_idx,
    )
