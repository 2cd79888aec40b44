"""Preparing a kernel: its scratch folder, configuration, mounts and network, before its container is made."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from caravan_agent_driver.devices.grants import grant
from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.kernels.environment import (
    check_environment,
    complete_environment,
    configuration_files,
    release_files,
)
from caravan_agent_driver.kernels.model import Kernel, Phase
from caravan_agent_driver.kernels.scratch import Scratch
from caravan_agent_driver.kernels.session_network import SessionNetwork
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.metrics import PREPARED
from caravan_agent_driver.mounts.bind import BindMounts, below_home
from caravan_agent_driver.outages import may_pass
from caravan_agent_driver.tasks import Background
from caravan_common.errors import CaravanError, ConflictError, InvalidParametersError, UnavailableError
from caravan_common.failpoints import FailpointPair
from caravan_common.wire.agent import KernelSpec, Mount, Release

log = structlog.get_logger()

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LARGEST_SCRIPT = 1024 * 1024

ANNOUNCED = FailpointPair("agent.prepare.announced-write")
FOLDERS = FailpointPair("agent.prepare.folders")
MOUNT = FailpointPair("agent.prepare.mount")
NETWORK = FailpointPair("agent.prepare.docker-network")
RELEASE = FailpointPair("agent.release.file-write")
PREPARED_WRITE = FailpointPair("agent.prepare.prepared-write")


class PreparationFailedError(ConflictError):
    """The kernel cannot start on this node."""

    title = "The kernel could not be prepared."


def parents_first(mounts: Sequence[Mount]) -> list[Mount]:
    """Return the mounts so that one below another's target comes after it."""
    return sorted(mounts, key=lambda mount: (len(mount.target.parts), str(mount.target)))


def check_spec(spec: KernelSpec, mounts: BindMounts, uid: int, gid: int) -> None:
    """Raise InvalidParametersError when this node can never prepare the kernel."""
    check_environment(complete_environment(spec.environ, uid, gid))
    for what, script in (("startup command", spec.startup_command), ("bootstrap script", spec.bootstrap_script)):
        if script is not None and len(script.encode()) > LARGEST_SCRIPT:
            raise InvalidParametersError(f"the {what} is longer than 1 MiB")
    targets = [mount.target for mount in spec.mounts]
    if len(set(targets)) < len(targets):
        raise InvalidParametersError("two folders would be mounted at the same place")
    for mount in spec.mounts:
        if _CONTROL.search(f"{mount.name}{mount.target}"):
            raise InvalidParametersError("a folder's name or target has a control character")
        mounts.check(mount)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares kernels in the background; who announced one can wait for it."""

    store: KernelStore
    scratch: Scratch
    mounts: BindMounts
    network: SessionNetwork
    inventory: Inventory
    background: Background

    async def request(self, spec: KernelSpec) -> None:
        """Take a specification and begin; the same one again is harmless.

        Raises InvalidParametersError, or KernelMoveError when the kernel has another specification or is over.
        """
        check_spec(spec, self.mounts, self.scratch.uid, self.scratch.gid)
        known = self.store.find(spec.kernel)
        now = datetime.now(UTC)
        kernel = Kernel.new(spec, now) if known is None else known.again(spec, now)
        if kernel is not known:
            with ANNOUNCED:
                await self.store.put(kernel)
        if kernel.phase is Phase.PREPARING:
            self.background.spawn(self.prepare(kernel.kernel))

    async def finish(self, kernel: UUID, seconds: float) -> None:
        """Return when the preparation is over, however far the kernel is by then: who asks again may come late.

        Raises PreparationFailedError with the reason, or UnavailableError at an outage or after so many seconds.
        """
        try:
            async with asyncio.timeout(seconds):
                known = await self.store.wait(kernel, lambda k: k is None or k.phase is not Phase.PREPARING)
        except TimeoutError as err:
            raise UnavailableError(f"kernel {kernel} is still being prepared after {seconds:.0f} s") from err
        if known is None:
            raise UnavailableError(f"kernel {kernel} was removed as it was being prepared")
        if known.phase is Phase.POSTPONED:
            raise UnavailableError(f"kernel {kernel} cannot be prepared now: {known.reason}")
        if known.phase is Phase.FAILED:
            raise PreparationFailedError(known.reason)

    async def release(self, kernel: UUID, told: Release) -> None:
        """Let a kernel begin that waits for the others of its gang; its folder remembers that for as long as it lives.

        Releasing it again is harmless, and so is one that is over or unknown. Raises InvalidParametersError.
        """
        check_environment(told.environ)
        async with self.store.lock(kernel):
            with RELEASE:
                await asyncio.to_thread(self.scratch.release, kernel, release_files(told))
        log.info("kernel.released", kernel=str(kernel))

    async def resume(self) -> None:
        """Go on where an earlier agent stopped: what was being prepared, and what a restart of the machine undid."""
        for kernel in self.store:
            if kernel.phase is Phase.PREPARED and not await asyncio.to_thread(self._is_complete, kernel):
                await self.store.put(kernel.unprepared(datetime.now(UTC)))
                self.background.spawn(self.prepare(kernel.kernel))
            elif kernel.phase is Phase.PREPARING:
                self.background.spawn(self.prepare(kernel.kernel))

    async def prepare(self, kernel: UUID) -> None:
        """Prepare the kernel and remember how that went."""
        async with self.store.lock(kernel):
            known = self.store.find(kernel)
            if known is None or known.spec is None or known.phase is not Phase.PREPARING:
                return
            began = time.perf_counter()
            after = _after(known, await self._attempt(known.spec), datetime.now(UTC))
            with PREPARED_WRITE:
                await self.store.replace(known, after)
        seconds = time.perf_counter() - began
        PREPARED.labels(after.phase.value).observe(seconds)
        log.info("kernel.prepared", kernel=str(kernel), seconds=round(seconds, 4), problem=after.reason or None)

    async def _attempt(self, spec: KernelSpec) -> BaseException | None:
        """Make everything; gives what went wrong. What is wrong for good goes before an outage."""
        made = await asyncio.gather(asyncio.to_thread(self._make, spec), self._connect(spec), return_exceptions=True)
        problems = sorted((problem for problem in made if problem is not None), key=may_pass)
        return problems[0] if problems else None

    def _make(self, spec: KernelSpec) -> None:
        granted = grant(self.inventory, spec.devices)
        with FOLDERS:
            self.scratch.make(spec.kernel, configuration_files(spec, granted, self.scratch.uid, self.scratch.gid))
        for mount in parents_first(spec.mounts):
            with MOUNT:
                self.mounts.mount(mount, self.scratch.home(spec.kernel))

    async def _connect(self, spec: KernelSpec) -> None:
        with NETWORK:
            await self.network.ensure(spec.session)

    def _is_complete(self, kernel: Kernel) -> bool:
        mounts = [] if kernel.spec is None else kernel.spec.mounts
        return self.scratch.is_complete(kernel.kernel, below_home(mounts))


def _after(kernel: Kernel, problem: BaseException | None, now: datetime) -> Kernel:
    """Return the kernel after an attempt: only what the node or the specification has for good is a failure."""
    if problem is None:
        return kernel.prepared(now)
    if may_pass(problem):
        return kernel.postponed(str(problem), now)
    if isinstance(problem, CaravanError | OSError):
        return kernel.failed(str(problem), now)
    log.error("kernel.preparation_crashed", kernel=str(kernel.kernel), exc_info=problem)
    return kernel.failed("the agent failed; its log says more", now)
