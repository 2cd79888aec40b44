"""When volumes are swept: at the start, every hour, and as soon as a folder was deleted."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress

import structlog

from caravan_storage.measures import SWEPT
from caravan_storage.threads import iterate
from caravan_storage.volumes.volume import Volume

log = structlog.get_logger()

INTERVAL_SECONDS = 3600
STALE_SECONDS = 24 * 3600
"""An upload to which nothing was written for so long is given up."""


class Sweeper:
    """Sweeps volumes one after the other while :meth:`run` runs. ``now`` tells epoch seconds."""

    def __init__(self, volumes: Iterable[Volume], now: Callable[[], float]) -> None:
        self._volumes = tuple(volumes)
        self._now = now
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Sweep soon."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            self._woken.clear()
            await self.sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._woken.wait()

    async def sweep(self) -> None:
        """Sweep each volume once; one that fails does not keep the others from it."""
        for volume in self._volumes:
            try:
                await self._sweep(volume)
            except OSError as err:
                log.warning("volume.not_swept", volume=volume.name, error=err.strerror)

    async def _sweep(self, volume: Volume) -> None:
        removed = 0
        async with aclosing(iterate(volume.sweep(self._now() - STALE_SECONDS))) as steps:
            async for count in steps:
                removed += count
        if removed:
            SWEPT.labels(volume.name).inc(removed)
            log.info("volume.swept", volume=volume.name, removed=removed)
