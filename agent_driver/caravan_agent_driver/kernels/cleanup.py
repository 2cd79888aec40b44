"""Cleaning up after a kernel, so that nothing of it is left on the node but its log."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from caravan_agent_driver.docker.containers import kill_container, list_kernel_containers, remove_container
from caravan_agent_driver.docker.engine import Engine
from caravan_agent_driver.kernels.logs import KernelLogs
from caravan_agent_driver.kernels.model import Phase
from caravan_agent_driver.kernels.scratch import Scratch
from caravan_agent_driver.kernels.session_network import SessionNetwork
from caravan_agent_driver.kernels.store import KernelStore
from caravan_common.errors import UnavailableError
from caravan_common.failpoints import FailpointPair

log = structlog.get_logger()

END_SECONDS = 3.0
"""How long the event of a container's end may be behind the container itself."""
LOG_SECONDS = 30.0
"""How long Docker may take to hand over the rest of a long log."""

KILL = FailpointPair("agent.cleanup.docker-kill")
REMOVE = FailpointPair("agent.cleanup.docker-remove")
ENDED_WRITE = FailpointPair("agent.cleanup.ended-write")
FOLDERS = FailpointPair("agent.cleanup.folders")
NETWORK = FailpointPair("agent.cleanup.docker-network")
CLEANED_WRITE = FailpointPair("agent.cleanup.cleaned-write")


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Cleans kernels. Every step can be repeated; what fails leaves the kernel in the store for the next try."""

    store: KernelStore
    engine: Engine
    scratch: Scratch
    network: SessionNetwork
    logs: KernelLogs

    async def clean(self, kernel: UUID, reason: str) -> None:
        """Remove everything of the kernel but its log; ``reason`` is told when the kernel never ran.

        Raises DockerError, or UnavailableError when something is still in use.
        """
        async with self.store.lock(kernel):
            known = self.store.find(kernel)
            if known is not None and known.phase is Phase.CLEANED:
                return
            await self._remove_containers(kernel)
            await self._end(kernel, reason)
            await self._remove_folders(kernel)
            if known is None:
                return
            with NETWORK:
                released = await self.network.release(known.session, kernel)
            if not released:
                raise UnavailableError(f"the network of session {known.session} is still in use")
            await self._record(kernel)
        log.info("kernel.cleaned", kernel=str(kernel))

    async def _remove_containers(self, kernel: UUID) -> None:
        """Remove what the job left of its container, after its last words are kept."""
        for container in await list_kernel_containers(self.engine, kernel):
            if container.started is not None and container.ended is None:
                with KILL:
                    await kill_container(self.engine, container.id)
            if container.started is not None and not await self.logs.read(kernel):
                self.logs.follow(kernel, container.id)  # nobody saw it start: the agent was away
            await self.logs.finished(kernel, LOG_SECONDS)
            with REMOVE:
                await remove_container(self.engine, container.id)
        await self.logs.finished(kernel, LOG_SECONDS)

    async def _end(self, kernel: UUID, reason: str) -> None:
        """Wait for the event of the end if it is on its way, and remember the end in any case."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.store.wait(kernel, lambda k: k is None or k.phase is not Phase.RUNNING)
        except TimeoutError:
            reason = "the container is gone and nobody saw how it ended"
        known = self.store.find(kernel)
        if known is not None:
            with ENDED_WRITE:
                await self.store.put(known.abandoned(reason, datetime.now(UTC)))

    async def _remove_folders(self, kernel: UUID) -> None:
        try:
            with FOLDERS:
                await asyncio.to_thread(self.scratch.remove, kernel)
        except OSError as err:
            raise UnavailableError(f"the folder of kernel {kernel} cannot be removed: {err}") from err

    async def _record(self, kernel: UUID) -> None:
        known = self.store.find(kernel)
        if known is not None:
            with CLEANED_WRITE:
                await self.store.put(known.cleaned(datetime.now(UTC)))
