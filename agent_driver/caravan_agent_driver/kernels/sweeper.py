"""Once a minute: clean what the hooks missed, and what nobody knows any more. Only this cluster's things."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from caravan_agent_driver.config import LimitsSection
from caravan_agent_driver.docker.containers import list_kernel_containers
from caravan_agent_driver.docker.engine import Engine
from caravan_agent_driver.kernels.cleanup import Cleanup
from caravan_agent_driver.kernels.logs import KernelLogs
from caravan_agent_driver.kernels.model import Kernel, Phase
from caravan_agent_driver.kernels.scratch import Scratch
from caravan_agent_driver.kernels.session_network import SessionNetwork
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.metrics import KERNELS
from caravan_common.errors import CaravanError

log = structlog.get_logger()


def is_left_over(kernel: Kernel, now: datetime, limits: LimitsSection) -> bool:
    """Say whether the kernel's clean-up hook will not come any more. One that runs is never left over."""
    age = (now - kernel.touched).total_seconds()
    if kernel.phase is Phase.TERMINATED:
        return age > limits.leftover_seconds
    return kernel.phase in (Phase.PREPARED, Phase.FAILED, Phase.POSTPONED) and age > limits.orphan_seconds


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Compares the node with the store."""

    store: KernelStore
    engine: Engine
    scratch: Scratch
    network: SessionNetwork
    logs: KernelLogs
    cleanup: Cleanup
    limits: LimitsSection

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self.limits.sweep_seconds)
            try:
                await self.sweep(datetime.now(UTC))
            except (CaravanError, OSError) as err:
                log.warning("sweep.failed", error=str(err))

    async def sweep(self, now: datetime) -> None:
        """Sweep once."""
        for phase in Phase:
            KERNELS.labels(phase.value).set(sum(kernel.phase is phase for kernel in self.store))
        with_container = {container.kernel for container in await list_kernel_containers(self.engine)}
        for kernel in await self._left_over(now, with_container):
            await self._clean(kernel)
        removed = await self.network.remove_unknown()
        logs = await self.logs.sweep(now - timedelta(days=self.limits.log_days), self.limits.logs_total_bytes)
        log.debug("sweep.done", networks=len(removed), logs=logs)

    async def _clean(self, kernel: UUID) -> None:
        """Clean one kernel; one that is stuck must not keep the others."""
        log.warning("sweep.kernel", kernel=str(kernel))
        try:
            await self.cleanup.clean(kernel, "no container was started in time")
        except (CaravanError, OSError) as err:
            log.warning("sweep.kernel_stuck", kernel=str(kernel), error=str(err))

    async def _left_over(self, now: datetime, with_container: set[UUID]) -> list[UUID]:
        known = [
            kernel.kernel
            for kernel in self.store
            if is_left_over(kernel, now, self.limits)
            and (kernel.phase is Phase.TERMINATED or kernel.kernel not in with_container)
        ]
        before = now - timedelta(seconds=self.limits.leftover_seconds)
        folders = await asyncio.to_thread(self.scratch.list_old, before)
        return known + [k for k in folders if self.store.find(k) is None and k not in with_container]
