"""Sessions and kernels as values; every move of the state machine. No I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid5

from caravan_common.errors import CaravanError, ConflictError, InvalidParametersError, NotFoundError
from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_manager.sessions.ports import ServicePort

DEAD = frozenset({SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR})
"""A session in one of these never moves again."""
ON_NODES = frozenset(
    {
        SessionStatus.SCHEDULED,
        SessionStatus.PREPARING,
        SessionStatus.PULLING,
        SessionStatus.PREPARED,
        SessionStatus.CREATING,
        SessionStatus.RUNNING,
        SessionStatus.RUNNING_DEGRADED,
        SessionStatus.RESTARTING,
        SessionStatus.TERMINATING,
    }
)
"""A session in one of these holds slots of its nodes."""
STARTING = frozenset(
    {
        SessionStatus.SCHEDULED,
        SessionStatus.PREPARING,
        SessionStatus.PULLING,
        SessionStatus.PREPARED,
        SessionStatus.CREATING,
    }
)
COMING_UP = STARTING | {SessionStatus.RESTARTING}
"""A session in one of these will be RUNNING as soon as its containers are."""
UNDER_WAY = STARTING - {SessionStatus.CREATING} | {SessionStatus.RUNNING, SessionStatus.RUNNING_DEGRADED}
"""A session that came into one of these needs nothing from the scheduler, and gives no slot back."""
BEFORE_RELEASE = STARTING - {SessionStatus.CREATING}
"""A gang in one of these has not begun: its kernels wait for each other."""
SUBMITTED = BEFORE_RELEASE - {SessionStatus.SCHEDULED}
"""Nomad has the job of a session in one of these, and may still look for a place for it."""
NODE_LOST, DEVICE_LOST = "node-lost", "device-lost"
"""Why a session is placed anew before it ran: its node fell silent; its node is there, and a device of its is ill."""
MAX_RANKS_LOST = 3
"""So many times a gang may lose a rank before it has begun; then it will never start."""
AVOIDED = timedelta(minutes=5)
"""How long a gang that lost a rank on a node prefers others."""
GANG = "gang"
"""Where in ``status_data`` stands which ranks a gang lost."""
DEVICES = "devices"
"""Where in ``status_data`` stands which devices of the session are ill: see :mod:`.illness`."""
PREEMPTED = "preempted"
"""Where in ``status_data`` stands for whom a session was ended, whether it is to run again, and how long it goes on."""
VICTIMS = "victims"
"""Where in a waiting session's ``status_data`` stands who was ended for it, and until when it goes first."""
MODELS = "accelerator_models"
"""The resource option that names the models of accelerators that will do, joined by commas."""
MAX_REPLACED = 64
"""How many containers that restarts replaced a session remembers: news of older ones do not come any more."""


class SessionNotFoundError(NotFoundError):
    """No session that the caller may see has this name or ID."""

    object_name = "session"


class TooManySessionsError(NotFoundError):
    """The name means several sessions; the data lists them."""

    slug = "too-many-sessions-matched"
    code = "session_read_ambiguous"

    def problem(self) -> dict[str, object]:
        return super().problem() | {"title": "Too many sessions matched."}


class SessionAlreadyExistsError(CaravanError):
    """A live session of the caller has the name, and reusing it was not asked for or is not possible."""

    status = 400
    slug = "session-already-exists"
    title = "The session already exists but you requested not to reuse existing one."
    code = "session_create_already-exists"


class SessionNotRunningError(InvalidParametersError):
    """Only a running session can do this."""

    code = "session_access_not-ready"


@dataclass(frozen=True, slots=True)
class SessionMount:
    """A virtual folder of a session: which one, where in the container, and with what right."""

    name: str
    folder: UUID
    host: str
    quota_scope: str
    subpath: PurePosixPath
    target: PurePosixPath
    permission: str

    @property
    def volume(self) -> str:
        """The volume's name on its storage proxy and on the nodes that have it."""
        return volume_of(self.host)

    def to_json(self) -> dict[str, str]:
        """Return the form that the database keeps."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "host": self.host,
            "quota_scope": self.quota_scope,
            "subpath": str(self.subpath),
            "target": str(self.target),
            "permission": self.permission,
        }

    @classmethod
    def from_json(cls, raw: dict[str, str]) -> "SessionMount":
        """Read what :meth:`to_json` wrote."""
        return cls(
            name=raw["name"],
            folder=UUID(raw["folder"]),
            host=raw["host"],
            quota_scope=raw["quota_scope"],
            subpath=PurePosixPath(raw["subpath"]),
            target=PurePosixPath(raw["target"]),
            permission=raw["permission"],
        )


def volume_of(host: str) -> str:
    """Return the volume of a folder host (``proxy:volume``)."""
    return host.partition(":")[2]


@dataclass(frozen=True, slots=True)
class HeldDevice:
    """What a kernel has of one device of its node; an ``amount`` of 1 is the whole device.

    ``model`` is kept because quotas count it when the node does not know the device any more, too.
    """

    slot: str
    id: str
    amount: Decimal
    model: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the form that the database keeps."""
        return {"slot": self.slot, "id": self.id, "amount": format(self.amount, "f"), "model": self.model}

    @classmethod
    def from_json(cls, raw: dict[str, str]) -> "HeldDevice":
        """Read what :meth:`to_json` wrote."""
        return cls(raw["slot"], raw["id"], Decimal(raw["amount"]), raw.get("model", ""))


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a kernel is placed: its node, and what it has there of which devices."""

    node: str
    devices: tuple[HeldDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """One container of a session, on one node once it is placed."""

    id: UUID
    session_id: UUID
    cluster_role: str
    cluster_idx: int
    slots: ResourceSlots
    status: SessionStatus
    status_changed: datetime
    created_at: datetime
    node: str | None = None
    devices: tuple[HeldDevice, ...] = ()
    container_id: str | None = None
    exit_code: int | None = None
    terminated_at: datetime | None = None

    @property
    def cluster_hostname(self) -> str:
        """The kernel's host name in its session's network: ``main1``, ``sub1`` …"""
        return f"{self.cluster_role}{self.cluster_idx}"

    @property
    def is_dead(self) -> bool:
        """Whether the kernel's container is gone for good."""
        return self.status in DEAD

    def moved(self, status: SessionStatus, now: datetime) -> "Kernel":
        """Return the kernel in another status; a dead one stays as it is."""
        if self.is_dead or self.status is status:
            return self
        ended = now if status in DEAD else None
        return replace(self, status=status, status_changed=now, terminated_at=ended)


@dataclass(frozen=True, slots=True)
class Parent:
    """A session that another one depends on, and where it is on its way."""

    id: UUID
    name: str
    status: SessionStatus
    result: SessionResult

    @property
    def has_succeeded(self) -> bool:
        """Whether those that depend on it need to wait for it no longer."""
        return self.status is SessionStatus.TERMINATED and self.result is SessionResult.SUCCESS

    @property
    def has_failed(self) -> bool:
        """Whether it is over and did not succeed: what depends on it can never start."""
        return self.status in DEAD and not self.has_succeeded


@dataclass(frozen=True, slots=True)
class Checks:
    """What the scheduler found as it looked at a session: checks that failed, with a sentence each, and passed ones."""

    failed: tuple[tuple[str, str], ...]
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where a session is on its way, and since when."""

    id: UUID
    status: SessionStatus
    status_changed: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A session and its kernels. Values: each move returns the new session, or raises."""

    id: UUID
    name: str
    type: SessionType
    priority: int
    tag: str | None
    domain_name: str
    project_id: UUID
    user_id: UUID
    access_key: str
    scaling_group: str
    image: str
    registry: str
    architecture: str
    cluster_mode: ClusterMode
    requested_slots: ResourceSlots
    resource_opts: dict[str, str]
    environ: dict[str, str] = field(repr=False)
    mounts: tuple[SessionMount, ...]
    startup_command: str | None = field(repr=False)
    bootstrap_script: str | None = field(repr=False)
    callback_url: str | None
    status: SessionStatus
    status_info: str
    status_data: dict[str, Any]
    status_changed: datetime
    status_history: dict[str, str]
    result: SessionResult
    created_at: datetime
    scheduled_at: datetime | None
    terminated_at: datetime | None
    kernels: tuple[Kernel, ...]
    service_ports: tuple[ServicePort, ...] = ()
    starts_at: datetime | None = None
    batch_timeout: timedelta | None = None
    designated: tuple[str, ...] = ()
    """The nodes on which it must be: one for all kernels, or one for each in their order; none for any."""
    deadline: datetime | None = None
    """When a running batch session has used up its ``batch_timeout``."""
    attempt: int = 1
    """Counts the times that the session was put into the queue; its kernels are new ones each time."""
    endpoint: UUID | None = None
    """Of which model service's endpoint it is a replica."""

    @property
    def is_dead(self) -> bool:
        """Whether the session never moves again."""
        return self.status in DEAD

    @property
    def is_ending(self) -> bool:
        """Whether the session is over, or on its way there."""
        return self.is_dead or self.status is SessionStatus.TERMINATING

    @property
    def has_settled(self) -> bool:
        """Whether the session has come out of the queue and its start-up, in whatever way."""
        return self.is_ending or self.status in {SessionStatus.RUNNING, SessionStatus.RUNNING_DEGRADED}

    @property
    def never_ran(self) -> bool:
        """Whether the session is over, or on its way there, and its containers never did anything."""
        has_result = self.result is not SessionResult.UNDEFINED
        return self.is_ending and SessionStatus.RUNNING.value not in self.status_history and not has_result

    @property
    def is_gang(self) -> bool:
        """Whether the session has kernels that begin together or not at all."""
        return len(self.kernels) > 1

    @property
    def spans_nodes(self) -> bool:
        """Whether the session has kernels on more than one node."""
        return len({kernel.node for kernel in self.kernels if kernel.node is not None}) > 1

    @property
    def is_broken(self) -> bool:
        """Whether the session is a gang that lost a rank before it began: it is taken down and placed anew."""
        return self.status is SessionStatus.SCHEDULED and any(kernel.is_dead for kernel in self.kernels)

    @property
    def goes_on_until(self) -> datetime | None:
        """Until when a session that is to end may go on; None for one that may not."""
        until = self.status_data.get(PREEMPTED, {}).get("until")
        return datetime.fromisoformat(until) if until and self.status is SessionStatus.TERMINATING else None

    @property
    def needs_the_scheduler(self) -> bool:
        """Whether the scheduler has something to do for the session, or with what it gave back."""
        return self.status not in UNDER_WAY or self.is_broken

    @property
    def models(self) -> frozenset[str]:
        """The models of accelerators that will do; none for any."""
        return frozenset(models_in(self.resource_opts.get(MODELS)))

    @property
    def main_kernel(self) -> Kernel:
        """The kernel whose end is the session's end."""
        return self.kernels[0]

    @property
    def occupying_slots(self) -> ResourceSlots:
        """What the session takes from its nodes now."""
        taken = ResourceSlots()
        for kernel in self.kernels:
            if self.status in ON_NODES and not kernel.is_dead and kernel.node is not None:
                taken = taken + kernel.slots
        return taken

    def kernel(self, kernel_id: UUID) -> Kernel | None:
        """Return one of the session's kernels, or None."""
        return next((kernel for kernel in self.kernels if kernel.id == kernel_id), None)

    def group_of(self, kernel: Kernel) -> str:
        """Return the name of the kernel's group in Nomad's job; one of an earlier attempt has another name.

        Nomad tells the end of an allocation by its group: what is left of an earlier attempt must not end this one.
        """
        return kernel.cluster_hostname if self.attempt == 1 else f"{kernel.cluster_hostname}-{self.attempt}"

    def cancelled(self, reason: str, checks: Checks, now: datetime) -> "Session":
        """Return the session that will never leave the queue. One that left it meanwhile stays as it is."""
        if self.status is not SessionStatus.PENDING:
            return self
        told = replace(self, status_data=checked(self.status_data, checks, now))
        return told._in(SessionStatus.CANCELLED, reason, now)._with_kernels(SessionStatus.CANCELLED, now)

    def requeued(self, reason: str, new_ids: Sequence[UUID], now: datetime) -> "Session":
        """Return the session that was placed and has not begun, back in the queue with new kernels.

        The new IDs keep late news of the old kernels, and what an agent still holds of them, apart from the session.
        A gang that lost ranks too often is ERROR instead.
        """
        if self.status is not SessionStatus.SCHEDULED:
            return self
        if self.is_broken and len(lost := self.status_data[GANG]["lost"]) >= MAX_RANKS_LOST:
            return self._failed("gang", "RankLost", f"a rank was lost before all were up: {lost[-1]['reason']}", now)
        fresh = tuple(_fresh(kernel, new_id, now) for kernel, new_id in zip(self.kernels, new_ids, strict=True))
        session = self._in(SessionStatus.PENDING, reason, now)
        return replace(session._without_devices(), kernels=fresh, attempt=self.attempt + 1, scheduled_at=None)

    def scheduled(self, seats: Mapping[UUID, Seat], now: datetime) -> "Session":
        """Return the session with a seat for each kernel. Raises ConflictError unless it is PENDING."""
        self._must_be({SessionStatus.PENDING})
        placed = tuple(_seated(kernel.moved(SessionStatus.SCHEDULED, now), seats[kernel.id]) for kernel in self.kernels)
        return replace(self._in(SessionStatus.SCHEDULED, "", now), kernels=placed, scheduled_at=now)

    def submitted(self, now: datetime) -> "Session":
        """Return the session whose job Nomad has and whose agents know their kernels."""
        self._must_be({SessionStatus.SCHEDULED})
        return self._in(SessionStatus.PREPARING, "", now)._with_kernels(SessionStatus.PREPARING, now)

    def displaced(self, kernel_id: UUID, reason: str, now: datetime) -> "Session":
        """Return the submitted session for which Nomad has found no place, and whose kernel's device is ill by now.

        It is where it was before the launch, so it is placed anew; a gang has lost a rank. One whose kernel is up, or
        is another by now, stays as it is.
        """
        kernel = self.kernel(kernel_id)
        if self.status not in SUBMITTED or kernel is None or kernel.status not in SUBMITTED:
            return self
        if self.is_gang:
            return self.kernel_terminated(kernel_id, None, reason, now)
        return self._in(SessionStatus.SCHEDULED, DEVICE_LOST, now)._with_kernels(SessionStatus.SCHEDULED, now)

    def kernel_started(self, kernel_id: UUID, container: str, now: datetime) -> "Session":
        """Return the session after one container began; RUNNING when all have. Late news change nothing.

        Kernels of a gang wait in their containers: when all are up it is CREATING, which is the word to release them.
        """
        kernel = self.kernel(kernel_id)
        if self.status not in COMING_UP or kernel is None or kernel.is_dead or container in self.replaced_containers:
            return self
        if self.is_broken or self.status is SessionStatus.CREATING:
            return self
        started = replace(kernel.moved(SessionStatus.RUNNING, now), container_id=container)
        session = self._replacing(started)
        if any(k.status is not SessionStatus.RUNNING for k in session.kernels):
            return session
        waits = self.is_gang and self.status in BEFORE_RELEASE
        return session._in(SessionStatus.CREATING if waits else SessionStatus.RUNNING, "", now)

    def released(self, attempt: int, now: datetime) -> "Session":
        """Return the gang whose kernels were told to begin; one that moved on meanwhile stays as it is."""
        was_meant = self.status is SessionStatus.CREATING and self.attempt == attempt
        return self._in(SessionStatus.RUNNING, "", now) if was_meant else self

    def kernel_terminated(
        self, kernel_id: UUID, exit_code: int | None, reason: str, now: datetime, container: str | None = None
    ) -> "Session":
        """Return the session after one container ended; the end of one that a restart replaced changes nothing.

        One kernel's end ends the session: the others are to be stopped, so it is TERMINATING until all are dead. A gang
        that has not begun is broken by it instead, and placed anew; so is one whose device fell ill before it began.
        """
        kernel = self.kernel(kernel_id)
        if self.is_dead or kernel is None or kernel.is_dead or container in self.replaced_containers:
            return self
        if self.status is SessionStatus.SCHEDULED and self.status_info == DEVICE_LOST:
            return self
        ended = replace(kernel.moved(SessionStatus.TERMINATED, now), exit_code=exit_code)
        session = self._replacing(ended)
        if self.is_gang and self.status in BEFORE_RELEASE:
            return session if self.is_broken else session._broken_by(ended, reason, now)
        if session.status is not SessionStatus.TERMINATING:
            session = session._ended_by(ended, reason, now)
        elif session.goes_on_until is not None:
            session = session._at_once()._finished_by(ended)
        if not all(k.is_dead for k in session.kernels):
            return session
        return session._over(session.status_info, now)

    def group_terminated(self, group: str, exit_code: int | None, reason: str, now: datetime) -> "Session":
        """Return the session after Nomad said that the allocation of one kernel, by host name, is over."""
        ended = next((kernel for kernel in self.kernels if self.group_of(kernel) == group), None)
        return self if ended is None else self.kernel_terminated(ended.id, exit_code, reason, now)

    def restarting(self, now: datetime) -> "Session":
        """Return the session whose containers are to be replaced. Raises SessionNotRunningError."""
        if self.status is SessionStatus.RESTARTING:
            return self
        self._must_run()
        containers = [kernel.container_id for kernel in self.kernels if kernel.container_id is not None]
        known = [*self.replaced_containers, *containers][-MAX_REPLACED:]
        session = self._with_kernels(SessionStatus.RESTARTING, now)._in(SessionStatus.RESTARTING, "user-requested", now)
        return replace(
            session,
            status_data=self.status_data | {"restart": {"replaced": known}},
            kernels=tuple(replace(kernel, container_id=None) for kernel in session.kernels),
        )

    def asked_to_restart(self, before: datetime | None, now: datetime) -> "Session":
        """Return the session whose restart Nomad is about to be asked for, unless somebody did since ``before``."""
        if self.status is not SessionStatus.RESTARTING or self.restart_asked != before:
            return self
        asked = self.status_data["restart"] | {"asked": now.isoformat()}
        return replace(self, status_data=self.status_data | {"restart": asked})

    @property
    def replaced_containers(self) -> frozenset[str]:
        """The containers that restarts replaced: news of them are late."""
        return frozenset(self.status_data.get("restart", {}).get("replaced", ()))

    @property
    def restart_asked(self) -> datetime | None:
        """When Nomad was asked to replace the containers, since the session is RESTARTING."""
        asked = self.status_data.get("restart", {}).get("asked")
        return None if asked is None else datetime.fromisoformat(asked)

    def timed_out(self, now: datetime) -> "Session":
        """Return the batch session that ran longer than it may: it failed, and its containers are to be stopped."""
        if self.status is not SessionStatus.RUNNING or self.deadline is None or now < self.deadline:
            return self
        failed = replace(self, result=SessionResult.FAILURE)
        return failed._in(SessionStatus.TERMINATING, "task-timeout", now)._with_kernels(SessionStatus.TERMINATING, now)

    def destroyed(self, reason: str, now: datetime) -> "Session":
        """Return the session that somebody asked to end: CANCELLED before it has a node, else TERMINATING."""
        if self.is_dead:
            return self
        if self.status is SessionStatus.TERMINATING:
            return self._not_again()._at_once()
        if self.status is SessionStatus.PENDING:
            return self._in(SessionStatus.CANCELLED, reason, now)._with_kernels(SessionStatus.CANCELLED, now)
        return self._in(SessionStatus.TERMINATING, reason, now)._with_kernels(SessionStatus.TERMINATING, now)

    def vanished(self, reason: str, now: datetime) -> "Session":
        """Return the session of which nothing is left in Nomad: TERMINATED, whatever news were missed."""
        if self.is_dead or self.status is SessionStatus.PENDING or self.is_broken:
            return self
        info = self.status_info or reason
        session = self if self.status is SessionStatus.TERMINATING else self._with_failure()
        return session._with_kernels(SessionStatus.TERMINATED, now)._over(info, now)

    def preempted(
        self, by: UUID, again: bool, attempt: int, now: datetime, grace: timedelta = timedelta()
    ) -> "Session":
        """Return the session that is to end so that another one starts; with ``again`` it is queued when it has ended.

        What runs may go on for the ``grace``, but no longer than its time limit; what has not begun has nothing to end.
        One that ends already or was placed anew, or whose containers are being replaced, stays as it is.
        """
        can_end = self.status in ON_NODES - {SessionStatus.TERMINATING, SessionStatus.RESTARTING} and not self.is_broken
        if not can_end or self.attempt != attempt:
            return self
        told: dict[str, Any] = {"by": str(by), "again": again}
        if grace and self.status not in STARTING:
            told["until"] = min(now + grace, self.deadline or now + grace).isoformat()
        return replace(self, status_data=self.status_data | {PREEMPTED: told}).destroyed("preempted", now)

    def promised(self, told: dict[str, Any]) -> "Session":
        """Return the session for which others are about to be ended; one that left the queue stays as it is."""
        if self.status is not SessionStatus.PENDING:
            return self
        return replace(self, status_data=self.status_data | {VICTIMS: told})

    def refused(self, reason: str, now: datetime) -> "Session":
        """Return the session that Nomad will not run: ERROR, with the reason where the user sees it."""
        return self if self.is_dead else self._failed("nomad", "JobRefused", reason, now)

    def renamed(self, name: str) -> "Session":
        """Return the session under another name. Raises SessionNotRunningError."""
        self._must_run()
        return replace(self, name=name)

    def changed(self, name: str | None, priority: int | None) -> "Session":
        """Return the live session with another name or priority; None keeps what it has. Raises ConflictError."""
        if self.is_dead:
            raise ConflictError(f"session {self.name} is {self.status}", id=str(self.id))
        return replace(self, name=name or self.name, priority=self.priority if priority is None else priority)

    def _ended_by(self, kernel: Kernel, reason: str, now: datetime) -> "Session":
        data = {"kernel": {"exit_code": kernel.exit_code}, "session": {"status": "terminating"}}
        session = replace(self, status_data=self.status_data | data)
        info = reason
        if self.type is SessionType.BATCH:
            succeeded = kernel.exit_code == 0 and kernel.id == self.main_kernel.id
            info = "task-finished" if succeeded else "task-failed"
            session = replace(session, result=SessionResult.SUCCESS if succeeded else SessionResult.FAILURE)
        return session._in(SessionStatus.TERMINATING, info, now)

    def _finished_by(self, kernel: Kernel) -> "Session":
        """Return the session that was to end for another one, and has done its work before: it need not run again."""
        if self.type is not SessionType.BATCH or kernel.id != self.main_kernel.id or kernel.exit_code != 0:
            return self
        return replace(self._not_again(), status_info="task-finished", result=SessionResult.SUCCESS)

    def _broken_by(self, kernel: Kernel, reason: str, now: datetime) -> "Session":
        """Return the gang that is to be taken down: placed and not launched, as far as anybody else is concerned."""
        lost = [*self.status_data.get(GANG, {}).get("lost", ())]
        lost.append({"node": kernel.node, "kernel": kernel.cluster_hostname, "at": now.isoformat(), "reason": reason})
        session = replace(self, status_data=self.status_data | {GANG: {"lost": lost}})
        return session._in(SessionStatus.SCHEDULED, "rank-lost", now)

    def _not_again(self) -> "Session":
        """Return the session that ends and will not be queued again."""
        if not self.status_data.get(PREEMPTED, {}).get("again"):
            return self
        data = self.status_data | {PREEMPTED: self.status_data[PREEMPTED] | {"again": False}}
        return replace(self, status_data=data)

    def _at_once(self) -> "Session":
        """Return the session that ends and has no time left."""
        told = {name: value for name, value in self.status_data.get(PREEMPTED, {}).items() if name != "until"}
        return replace(self, status_data=self.status_data | {PREEMPTED: told}) if told else self

    def _over(self, info: str, now: datetime) -> "Session":
        """Return the session of which nothing runs any more: it has ended, or begins anew after a preemption."""
        if not self.status_data.get(PREEMPTED, {}).get("again"):
            return self._in(SessionStatus.TERMINATED, info, now)
        attempt = self.attempt + 1
        fresh = tuple(_fresh(kernel, uuid5(kernel.id, f"attempt-{attempt}"), now) for kernel in self.kernels)
        queued = self._not_again()._at_once()._without_devices()._in(SessionStatus.PENDING, "preempted", now)
        return replace(queued, kernels=fresh, attempt=attempt, scheduled_at=None, deadline=None, terminated_at=None)

    def _without_devices(self) -> "Session":
        """Return the session without what it was told of devices that it does not hold any more."""
        return replace(self, status_data={name: value for name, value in self.status_data.items() if name != DEVICES})

    def _failed(self, source: str, name: str, reason: str, now: datetime) -> "Session":
        data = self.status_data | {"error": {"src": source, "name": name, "repr": reason}}
        session = replace(self, status_data=data)._with_kernels(SessionStatus.ERROR, now)
        return session._in(SessionStatus.ERROR, "failed-to-start", now)

    def _with_failure(self) -> "Session":
        result = SessionResult.FAILURE if self.type is SessionType.BATCH else self.result
        return replace(self, result=result, status_data=self.status_data | {"kernel": {"exit_code": None}})

    def _must_run(self) -> None:
        if self.status is not SessionStatus.RUNNING:
            raise SessionNotRunningError(f"session {self.name} is {self.status}", id=str(self.id))

    def _must_be(self, allowed: set[SessionStatus]) -> None:
        if self.status not in allowed:
            raise ConflictError(f"session {self.name} is {self.status}", id=str(self.id))

    def _in(self, status: SessionStatus, info: str, now: datetime) -> "Session":
        ended = now if status in DEAD else None
        limited = status is SessionStatus.RUNNING and self.batch_timeout is not None
        return replace(
            self,
            status=status,
            status_info=info,
            status_changed=now,
            status_history=self.status_history | {status.value: now.isoformat()},
            terminated_at=ended,
            deadline=now + (self.batch_timeout or timedelta()) if limited else self.deadline,
        )

    def _with_kernels(self, status: SessionStatus, now: datetime) -> "Session":
        return replace(self, kernels=tuple(kernel.moved(status, now) for kernel in self.kernels))

    def _replacing(self, changed: Kernel) -> "Session":
        return replace(self, kernels=tuple(changed if k.id == changed.id else k for k in self.kernels))


def _fresh(kernel: Kernel, new_id: UUID, now: datetime) -> Kernel:
    return Kernel(
        id=new_id,
        session_id=kernel.session_id,
        cluster_role=kernel.cluster_role,
        cluster_idx=kernel.cluster_idx,
        slots=kernel.slots,
        status=SessionStatus.PENDING,
        status_changed=now,
        created_at=kernel.created_at,
    )


def models_in(text: str | None) -> list[str]:
    """Return the models that a resource option names, each once."""
    return list(dict.fromkeys(model for part in (text or "").split(",") if (model := part.strip())))


def avoided_nodes(status_data: Mapping[str, Any], now: datetime) -> frozenset[str]:
    """Return the nodes on which a gang lately lost a rank before it began."""
    lost = status_data.get(GANG, {}).get("lost", ())
    return frozenset(
        rank["node"] for rank in lost if rank["node"] and now - datetime.fromisoformat(rank["at"]) < AVOIDED
    )


def _seated(kernel: Kernel, seat: Seat) -> Kernel:
    return replace(kernel, node=seat.node, devices=seat.devices)


def checked(status_data: dict[str, Any], checks: Checks, now: datetime) -> dict[str, Any]:
    """Return a session's data with what the scheduler found, in the form of Backend.AI."""
    told: dict[str, Any] = status_data.get("scheduler", {})
    scheduler = {
        "failed_predicates": [{"name": name, "msg": message} for name, message in checks.failed],
        "passed_predicates": [{"name": name} for name in checks.passed],
        "msg": checks.failed[0][1] if checks.failed else "",
        "retries": told.get("retries", 0) + 1,
        "last_try": now.isoformat(),
    }
    return status_data | {"scheduler": scheduler}


def check_environ(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment that a user asked for. Raises InvalidParametersError for names no shell could set."""
    for name, value in environ.items():
        if not name.isascii() or not name.isidentifier() or name.startswith("BACKENDAI_"):
            raise InvalidParametersError(f"{name!r} cannot be the name of an environment variable")
        if "\0" in value:
            raise InvalidParametersError(f"the value of {name} holds a NUL character")
    if sum(len(name) + len(value) for name, value in environ.items()) > MAX_ENVIRON_BYTES:
        raise InvalidParametersError(f"the environment is larger than {MAX_ENVIRON_BYTES} bytes")
    return environ


MAX_ENVIRON_BYTES = 128 * 1024
