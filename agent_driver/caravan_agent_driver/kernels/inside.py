"""Mounts outside of /home/work: made in the container itself, as soon as it runs and has given root up."""

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from uuid import UUID

import structlog

from caravan_agent_driver.docker.containers import find_process, kill_container
from caravan_agent_driver.docker.engine import DockerError, Engine
from caravan_agent_driver.kernels.model import Phase
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.mounts.bind import BindMounts, outside_home
from caravan_agent_driver.mounts.namespace import attach, has_given_up_root, mounted_in, open_namespace
from caravan_common.errors import CaravanError
from caravan_common.service import to_its_end
from caravan_common.wire.agent import Mount

log = structlog.get_logger()

READY_SECONDS = 30.0
"""How long an image's entrypoint may take to give root up; it waits a little longer for the mounts."""
PAUSE_SECONDS = 0.005


class ContainerGoneError(Exception):
    """The container ended: there is nothing to mount into."""


@dataclass(frozen=True, slots=True)
class InsideMounts:
    """Mounts folders into containers. Doing it again is harmless: what is mounted stays."""

    store: KernelStore
    engine: Engine
    mounts: BindMounts
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ensure(self, kernel: UUID, container: str) -> None:
        """Mount what the kernel is to have outside of its home. A container that cannot have it is killed."""
        known = self.store.find(kernel)
        wanted = [] if known is None or known.spec is None else outside_home(known.spec.mounts)
        if not wanted:
            return
        try:
            async with asyncio.timeout(READY_SECONDS):
                pid = await self._ready(container)
            await self._attach(pid, container, wanted)
        except ContainerGoneError:
            log.info("mounts.container_gone", kernel=str(kernel), container=container[:12])
        except DockerError as err:
            log.warning("mounts.docker_away", kernel=str(kernel), error=str(err))  # the next look at Docker tries again
        except (CaravanError, OSError, TimeoutError) as err:
            await self._give_up(kernel, container, str(err) or "the container did not give root up in time")

    async def _ready(self, container: str) -> int:
        """Return the container's first process as soon as a mount there can harm nobody but the user."""
        pid = await find_process(self.engine, container)
        while pid is not None:
            try:
                if await asyncio.to_thread(has_given_up_root, pid):
                    return pid
            except (FileNotFoundError, ProcessLookupError):
                break
            await asyncio.sleep(PAUSE_SECONDS)
        raise ContainerGoneError

    async def _attach(self, pid: int, container: str, wanted: list[Mount]) -> None:
        try:
            namespace = open_namespace(pid)
        except (FileNotFoundError, ProcessLookupError) as err:
            raise ContainerGoneError from err
        try:
            if await find_process(self.engine, container) != pid:  # else the ID may be another process's by now
                raise ContainerGoneError
            async with self._one_at_a_time:
                await to_its_end(asyncio.to_thread(self._mount, pid, namespace, wanted))  # it holds the descriptor
        finally:
            os.close(namespace)

    def _mount(self, pid: int, namespace: int, wanted: list[Mount]) -> None:
        there = mounted_in(pid)
        with ExitStack() as opened:
            trees: list[tuple[PurePosixPath, int]] = []
            for mount in (mount for mount in wanted if mount.target not in there):
                trees.append((mount.target, self.mounts.detached(mount)))
                opened.callback(os.close, trees[-1][1])
            attach(namespace, trees)

    async def _give_up(self, kernel: UUID, container: str, reason: str) -> None:
        log.error("mounts.failed", kernel=str(kernel), container=container[:12], reason=reason)
        known = self.store.find(kernel)
        if known is not None and known.phase is Phase.RUNNING and known.container == container:
            await self.store.put(known.blamed(reason))
        await kill_container(self.engine, container)
