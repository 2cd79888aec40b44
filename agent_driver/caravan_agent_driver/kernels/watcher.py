"""Turning what Docker says about kernels' containers into moves of the store, and catching up on what was missed."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import structlog

from caravan_agent_driver.docker.containers import (
    Container,
    ContainerEvent,
    find_container,
    follow_events,
    list_kernel_containers,
)
from caravan_agent_driver.docker.engine import DockerError, Engine
from caravan_agent_driver.kernels.inside import InsideMounts
from caravan_agent_driver.kernels.logs import KernelLogs
from caravan_agent_driver.kernels.model import Kernel, KernelMoveError, Phase
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.metrics import DOCKER_CONNECTED
from caravan_agent_driver.tasks import Background
from caravan_common.failpoints import FailpointPair

log = structlog.get_logger()

SETTLE_SECONDS = 2.0
SEEN = FailpointPair("agent.watcher.moved-write")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


def end_reason(exit_code: int | None, *, out_of_memory: bool) -> str:
    """Say in a few words how a container ended."""
    if out_of_memory:
        return "out of memory"
    return "finished" if exit_code == 0 else f"exited with {exit_code}"


def replay_from(kernels: list[Kernel], now: datetime) -> datetime:
    """Return the moment since when events may have been missed: the oldest change of a kernel that is not over."""
    open_ended = (Phase.PREPARING, Phase.PREPARED, Phase.RUNNING)
    return min([kernel.touched for kernel in kernels if kernel.phase in open_ended], default=now)


class Watcher:
    """Follows Docker for the kernels of the store."""

    def __init__(
        self, store: KernelStore, engine: Engine, logs: KernelLogs, inside: InsideMounts, background: Background
    ) -> None:
        self._store = store
        self._engine = engine
        self._logs = logs
        self._inside = inside
        self._background = background
        self._out_of_memory: set[UUID] = set()
        self.connected = False

    async def run(self) -> None:
        """Follow until cancelled; a stream that breaks is opened again, with growing pauses."""
        pause = SHORTEST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow()
            except DockerError as err:
                log.warning("docker.events_lost", error=str(err), pause=pause)
            finally:
                self._set_connected(False)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = SHORTEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _follow(self) -> None:
        """Read the events since the last moment that is sure, and meanwhile compare the store with what is there."""
        since = replay_from(list(self._store), datetime.now(UTC))
        lost: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(since))
                group.create_task(self._catch_up())
        except* DockerError as errors:
            lost += errors.exceptions
        if lost:
            raise DockerError(str(lost[0]))

    async def _read(self, since: datetime) -> None:
        async for event in follow_events(self._engine, since):
            self.handle(event)
        raise DockerError("Docker ended the stream of events")

    async def _catch_up(self) -> None:
        containers = await list_kernel_containers(self._engine)
        self._set_connected(True)
        for container in containers:
            self.adopt(container)
        await asyncio.sleep(SETTLE_SECONDS)
        for kernel in list(self._store):
            await self._end_if_gone(kernel)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        DOCKER_CONNECTED.set(connected)

    def handle(self, event: ContainerEvent) -> None:
        """Make the move that an event means; events of unknown kernels and other containers are none of ours."""
        if event.action == "start":
            self._started(event.kernel, event.container, event.at)
        elif event.action == "oom":
            self._out_of_memory.add(event.kernel)
        elif event.action == "die":
            out_of_memory = event.kernel in self._out_of_memory
            self._out_of_memory.discard(event.kernel)
            reason = end_reason(event.exit_code, out_of_memory=out_of_memory)
            self._ended(event.kernel, event.container, event.at, event.exit_code, reason)

    def adopt(self, container: Container) -> None:
        """Take a container that is there into account: one that runs, or one that ended unseen."""
        if container.started is None:
            return
        self._started(container.kernel, container.id, container.started)
        if container.ended is not None:
            reason = end_reason(container.exit_code, out_of_memory=container.out_of_memory)
            self._ended(container.kernel, container.id, container.ended, container.exit_code, reason)

    def _started(self, kernel: UUID, container: str, at: datetime) -> None:
        known = self._store.find(kernel)
        if known is None:
            return
        try:
            self._remember(known, known.running(container, at))
        except KernelMoveError as err:
            log.warning("kernel.start_ignored", kernel=str(kernel), container=container[:12], why=str(err))
            return
        if known.phase is not Phase.CLEANED:
            self._logs.follow(kernel, container)
            self._background.spawn(self._inside.ensure(kernel, container))

    def _ended(self, kernel: UUID, container: str, at: datetime, exit_code: int | None, reason: str) -> None:
        known = self._store.find(kernel)
        if known is None:
            return
        try:
            if known.container is None:
                known = known.running(container, at)
            self._remember(self._store.find(kernel), known.terminated(container, exit_code, reason, at))
        except KernelMoveError as err:
            log.warning("kernel.end_ignored", kernel=str(kernel), container=container[:12], why=str(err))

    def _remember(self, before: Kernel | None, after: Kernel) -> None:
        if after != before:
            self._store.set(after)
            self._background.spawn(self._save(after.kernel))
            log.info("kernel.moved", kernel=str(after.kernel), phase=after.phase.value, exit_code=after.exit_code)

    async def _save(self, kernel: UUID) -> None:
        with SEEN:
            await self._store.save(kernel)

    async def _end_if_gone(self, kernel: Kernel) -> None:
        if kernel.phase is not Phase.RUNNING or kernel.container is None:
            return
        container = await find_container(self._engine, kernel.kernel, kernel.container)
        if container is not None:
            self.adopt(container)
        else:
            self._ended(kernel.kernel, kernel.container, datetime.now(UTC), None, "the container was removed unseen")
