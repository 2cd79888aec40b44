"""Which devices this node has now, asked of every kind again and again. A kind that fails makes only its own ill."""

import asyncio
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import structlog

from caravan_agent_driver.devices.config import load_devices
from caravan_agent_driver.devices.kind import DeviceKind, Statistics
from caravan_common.errors import CaravanError, ConfigurationError
from caravan_common.wire.devices import Device, DeviceStatistics

log = structlog.get_logger()

ANSWER_SECONDS = 5.0
"""How long a kind may take. A driver that hangs must not keep the others, or a heartbeat, waiting."""

Answer = TypeVar("Answer")


class NoAnswerError(CaravanError):
    """A kind takes too long, or has not finished what it was asked before."""

    title = "the driver does not answer"


class Source:
    """One kind, and the devices that it had when it was asked last."""

    def __init__(self, name: str, kind: DeviceKind) -> None:
        self.name = name
        self.kind = kind
        self.devices: tuple[Device, ...] = ()
        self._problem = ""
        self._asked: asyncio.Future[Any] | None = None
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask for the devices. Where that fails, those of the last list are ill."""
        try:
            self.devices = tuple(await self._ask(self.kind.list_devices))
            self._problem = ""
        except Exception as err:  # whatever a driver's library, or somebody else's kind, may raise
            problem = str(err) or type(err).__name__
            if problem != self._problem:
                log.warning("device_kind.failed", kind=self.name, error=problem)
            self._problem = problem
            self.devices = tuple(d.model_copy(update={"healthy": False, "problem": problem}) for d in self.devices)

    async def statistics(self) -> dict[str, Statistics]:
        """Return how the devices do; nothing when the kind fails."""
        try:
            return {name: _possible(now) for name, now in (await self._ask(self.kind.statistics)).items()}
        except Exception as err:  # as above
            log.debug("device_kind.no_statistics", kind=self.name, error=str(err))
            return {}

    async def _ask(self, work: Callable[[], Answer]) -> Answer:
        async with self._lock:
            if self._asked is not None and not self._asked.done():
                raise NoAnswerError
            asked = asyncio.ensure_future(asyncio.to_thread(work))
            self._asked = asked
            done, _ = await asyncio.wait({asked}, timeout=ANSWER_SECONDS)
            if not done:
                raise NoAnswerError
            return asked.result()


def _possible(now: Statistics) -> Statistics:
    """Return what can be sent: a number that is none, or that no device can have, is not known."""
    memory = now.memory_used
    if isinstance(memory, float) and isfinite(memory):
        memory = round(memory)
    told = DeviceStatistics(
        utilization=now.utilization, memory_used=memory, power=now.power, temperature=now.temperature
    )
    return Statistics(told.utilization, told.memory_used, told.power, told.temperature)


class Inventory:
    """The devices of this node. `refresh` is called every few seconds, and reads the device file when it changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: bytes | None = None
        self._loaded = False
        self._sources: tuple[Source, ...] = ()
        self._lock = asyncio.Lock()

    def use(self, path: Path | None) -> None:
        """Read another device file at the next refresh."""
        self._path, self._loaded = path, False

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices of the last refresh, in the order of their kinds, each ID once."""
        known: dict[str, Device] = {}
        for source in self._sources:
            for device in source.devices:
                known.setdefault(device.id, device)
        return tuple(known.values())

    async def refresh(self) -> None:
        """Look again. A device file that became wrong changes nothing: what it said before stays."""
        async with self._lock:
            try:
                self._sources = await asyncio.to_thread(self._load)
            except ConfigurationError as err:
                log.warning("device_file.wrong", error=str(err))
            await asyncio.gather(*(source.refresh() for source in self._sources))

    async def statistics(self) -> dict[str, Statistics]:
        """Return how all devices do, by their ID."""
        known: dict[str, Statistics] = {}
        for statistics in await asyncio.gather(*(source.statistics() for source in self._sources)):
            known |= statistics
        return known

    def find(self, device: str) -> tuple[Device, Source] | None:
        """Return the device with this ID and where it is from."""
        for source in self._sources:
            for known in source.devices:
                if known.id == device:
                    return known, source
        return None

    def _load(self) -> tuple[Source, ...]:
        """Return the sources: those of before, unless the file changed."""
        content = self._path.read_bytes() if self._path is not None and self._path.exists() else None
        if self._loaded and content == self._read:
            return self._sources
        self._read, self._loaded = content, True  # a wrong file is complained of once
        return tuple(Source(name, kind) for name, kind in load_devices(self._path).items())
