"""What the agent knows of one kernel, the moves that may be made, and the events that are due. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal, Self
from uuid import UUID

from caravan_common.errors import ConflictError
from caravan_common.wire.agent import KernelSpec, KernelState
from caravan_common.wire.events import KernelCleaned, KernelStarted, KernelTerminated


class Phase(StrEnum):
    """Where a kernel is on this node."""

    PREPARING = "preparing"
    FAILED = "failed"
    """The preparation failed; the same specification may be tried again."""
    POSTPONED = "postponed"
    """The preparation met an outage; it begins anew when the manager asks again."""
    PREPARED = "prepared"
    RUNNING = "running"
    TERMINATED = "terminated"
    CLEANED = "cleaned"
    """Nothing is left; kept only until the events are sent."""


class Told(IntEnum):
    """How much of a kernel's life the manager was told; each event implies those before it."""

    NOTHING = 0
    STARTED = 1
    TERMINATED = 2
    CLEANED = 3


_ALIVE = frozenset({Phase.PREPARING, Phase.FAILED, Phase.POSTPONED, Phase.PREPARED})
_WIRE: dict[Phase, Literal["preparing", "prepared", "running", "terminated"]] = {
    Phase.PREPARING: "preparing",
    Phase.FAILED: "terminated",
    Phase.POSTPONED: "preparing",
    Phase.PREPARED: "prepared",
    Phase.RUNNING: "running",
    Phase.TERMINATED: "terminated",
    Phase.CLEANED: "terminated",
}


class KernelMoveError(ConflictError):
    """The kernel is not in a phase in which this can happen."""

    title = "The kernel is in another phase."


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel. ``spec`` is None once the kernel is cleaned: the secrets go with everything else."""

    session: UUID
    kernel: UUID
    spec: KernelSpec | None = field(repr=False)
    phase: Phase
    touched: datetime
    container: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    told: Told = Told.NOTHING

    @classmethod
    def new(cls, spec: KernelSpec, now: datetime) -> Self:
        """Return a kernel that is being prepared."""
        return cls(spec.session, spec.kernel, spec, Phase.PREPARING, now)

    def _refuse(self, what: str) -> KernelMoveError:
        return KernelMoveError(f"kernel {self.kernel} is {self.phase} and cannot be {what}", kernel=str(self.kernel))

    def again(self, spec: KernelSpec, now: datetime) -> "Kernel":
        """Take the specification a second time: a preparation that failed begins anew, anything else stays as it is.

        A manager that died as it launched the session repeats the launch, maybe after the kernel's whole life, and
        maybe in other words: who has run stays as it is. Raises KernelMoveError when a kernel that has not is given
        another specification, or was cleaned.
        """
        if self.phase in (Phase.FAILED, Phase.POSTPONED):
            return Kernel.new(spec, now)
        if self.started is not None:
            return self
        if self.spec != spec:
            raise self._refuse("prepared from another specification")
        return self

    def unprepared(self, now: datetime) -> "Kernel":
        """Begin the preparation again, because what was prepared is gone (the machine was restarted)."""
        if self.phase not in _ALIVE:
            raise self._refuse("prepared again")
        return replace(self, phase=Phase.PREPARING, touched=now)

    def prepared(self, now: datetime) -> "Kernel":
        """Everything for the container is there."""
        if self.phase is not Phase.PREPARING:
            raise self._refuse("prepared")
        return replace(self, phase=Phase.PREPARED, touched=now)

    def failed(self, reason: str, now: datetime) -> "Kernel":
        """The preparation failed, for a reason that the user may read."""
        if self.phase is not Phase.PREPARING:
            raise self._refuse("failed")
        return replace(self, phase=Phase.FAILED, reason=reason, touched=now)

    def postponed(self, reason: str, now: datetime) -> "Kernel":
        """The preparation met an outage, which says nothing about the kernel."""
        if self.phase is not Phase.PREPARING:
            raise self._refuse("postponed")
        return replace(self, phase=Phase.POSTPONED, reason=reason, touched=now)

    def running(self, container: str, at: datetime) -> "Kernel":
        """The container runs since ``at``. Hearing it again is harmless.

        A later container takes the place of the one before, of which nothing more is told: the session was restarted.
        An earlier one is refused, and any after the kernel was cleaned.
        """
        if self.container == container and self.phase not in _ALIVE:
            return self
        if self.phase is Phase.CLEANED or (self.phase not in _ALIVE and (self.started is None or at <= self.started)):
            raise self._refuse(f"started as container {container[:12]}")
        return replace(
            self,
            phase=Phase.RUNNING,
            container=container,
            started=at,
            ended=None,
            exit_code=None,
            reason="",
            told=Told.NOTHING,
            touched=at,
        )

    def terminated(self, container: str, exit_code: int | None, reason: str, at: datetime) -> "Kernel":
        """The kernel's own container ended. Another container's end is refused; hearing it again is harmless."""
        if self.container != container or self.phase in _ALIVE:
            raise self._refuse(f"ended by container {container[:12]}")
        if self.phase is not Phase.RUNNING:
            return self
        why = self.reason or reason
        return replace(self, phase=Phase.TERMINATED, exit_code=exit_code, reason=why, ended=at, touched=at)

    def blamed(self, reason: str) -> "Kernel":
        """The agent is about to end the kernel's container, for this reason."""
        return replace(self, reason=reason)

    def abandoned(self, reason: str, now: datetime) -> "Kernel":
        """The kernel will not run, or nobody can say any more how it ended. One that ended already stays as it is."""
        if self.phase in (Phase.TERMINATED, Phase.CLEANED):
            return self
        return replace(self, phase=Phase.TERMINATED, reason=self.reason or reason, ended=now, touched=now)

    def cleaned(self, now: datetime) -> "Kernel":
        """Nothing of the kernel is left on the node."""
        if self.phase not in (Phase.TERMINATED, Phase.CLEANED):
            raise self._refuse("cleaned")
        return replace(self, phase=Phase.CLEANED, spec=None, touched=now)

    def having_told(self, told: Told) -> "Kernel":
        """Return the kernel after the manager was told this much."""
        return replace(self, told=max(self.told, told))

    @property
    def is_told(self) -> bool:
        """Whether the manager was told everything that there will ever be."""
        return self.told is Told.CLEANED

    def wire(self) -> KernelState:
        """Return the kernel as the manager sees it."""
        return KernelState(
            session=self.session,
            kernel=self.kernel,
            state=_WIRE[self.phase],
            container=self.container,
            exit_code=self.exit_code,
        )


def due_event(kernel: Kernel, node: str) -> tuple[Told, KernelStarted | KernelTerminated | KernelCleaned] | None:
    """Return the first event that the manager was not told yet, and what it will have been told with it."""
    if kernel.told < Told.STARTED and kernel.started is not None and kernel.container is not None:
        return Told.STARTED, KernelStarted(
            at=kernel.started, node=node, session=kernel.session, kernel=kernel.kernel, container=kernel.container
        )
    if kernel.told < Told.TERMINATED and kernel.ended is not None:
        return Told.TERMINATED, KernelTerminated(
            at=kernel.ended,
            node=node,
            session=kernel.session,
            kernel=kernel.kernel,
            container=kernel.container,
            exit_code=kernel.exit_code,
            reason=kernel.reason,
        )
    if kernel.told < Told.CLEANED and kernel.phase is Phase.CLEANED:
        return Told.CLEANED, KernelCleaned(at=kernel.touched, node=node, session=kernel.session, kernel=kernel.kernel)
    return None
