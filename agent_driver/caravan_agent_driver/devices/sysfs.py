"""Accelerators that Linux shows in a folder of /sys, one entry a device: what their kinds have in common.

What /sys does not tell, the vendor's own program may: it is asked for it now and then, and only while something lacks.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import structlog

from caravan_agent_driver.devices.kind import Access, DeviceFile, Given, Statistics
from caravan_agent_driver.devices.tools import LONGEST_SECONDS
from caravan_common.config import Section
from caravan_common.wire.devices import Device

log = structlog.get_logger()

GIBIBYTE = 1024**3
ASKED_SECONDS = 10.0
"""How long what a vendor's program said is believed: it costs a process each time."""


class SysfsOptions(Section):
    """Where the machine's own folders are; a kind's own options come besides."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


@dataclass(frozen=True, slots=True)
class Entry:
    """A device's folder in /sys, and the number that its device files have."""

    number: int
    folder: Path

    def text(self, name: str) -> str:
        """Return a file's content without space around it, or nothing where it cannot be read."""
        try:
            return (self.folder / name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def count(self, name: str) -> int | None:
        """Return the number that a file begins with, decimal or hexadecimal."""
        try:
            return int(self.text(name).split()[0], 0)
        except (ValueError, IndexError):
            return None

    def link(self, name: str) -> str:
        """Return the last part of what a link leads to."""
        path = self.folder / name
        return path.resolve().name if path.exists() else ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the vendor's program says of a device."""

    statistics: Statistics = field(default_factory=Statistics)
    problem: str = ""
    """What is wrong with it, where the program says so."""


class SysfsDevices:
    """The devices of one kind, each given whole. A kind says what is where, by the attributes and methods below."""

    slot: ClassVar[str]
    model: ClassVar[str]
    memory: ClassVar[int] = 0
    """In bytes, of each device, where nothing in /sys says."""
    folder: ClassVar[str]
    """Of /sys."""
    entry: ClassVar[re.Pattern[str]]
    """A device's name there; its first group is the number."""
    files: ClassVar[tuple[str, ...]]
    """Patterns of its files in /dev; ``{n}`` is the number."""
    common: ClassVar[tuple[str, ...]] = ()
    """Files that every container with such a device has."""
    Options: ClassVar[type[SysfsOptions]] = SysfsOptions

    def __init__(self, options: Mapping[str, object]) -> None:
        self.options = self.Options.model_validate(options)
        self._known: dict[str, tuple[Entry, Device]] = {}
        self._told: Mapping[str, Told] = {}
        self._asked = -ASKED_SECONDS

    # --- what a kind says ------------------------------------------------------------------------------------------

    def is_one(self, entry: Entry) -> bool:
        """Say whether the entry is a device of this kind at all."""
        return True

    def bus_of(self, entry: Entry) -> str:
        """Return the PCI address."""
        return entry.link("device")

    def name_of(self, entry: Entry) -> str:
        """Return the ID; by default from the bus address, which stays the same until somebody moves the card."""
        return f"{self.slot.partition('.')[0]}-{self.bus_of(entry)}"

    def model_of(self, entry: Entry) -> str:
        """Return the model's name."""
        return self.model

    def memory_of(self, entry: Entry) -> int:
        """Return the memory in bytes."""
        return self.memory

    def problem_of(self, entry: Entry) -> str:
        """Say what is wrong, or nothing."""
        return ""

    def statistics_of(self, entry: Entry) -> Statistics:
        """Return how it does; by default what its hwmon says."""
        return Statistics(power=power(entry), temperature=temperature(entry))

    def key_of(self, entry: Entry) -> str:
        """Return what the vendor's program calls it; by default its bus address."""
        return self.bus_of(entry).lower()

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        """Return what the vendor's program says of the devices, by :meth:`key_of`; nothing where there is none.

        ``until`` is when it must have said so, on the steady clock.
        """
        return {}

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return a kernel's variables."""
        raise NotImplementedError

    # --- what follows from it --------------------------------------------------------------------------------------

    def list_devices(self) -> Sequence[Device]:
        """Return the devices in the order of their numbers. One that is no longer in /sys is ill."""
        devices = [(entry, self._device(entry)) for entry in self._look()]
        found = {device.id: (entry, device) for entry, device in devices}
        gone = {name: known for name, known in self._known.items() if name not in found}
        self._known = found | {
            name: (entry, device.model_copy(update={"healthy": False, "problem": "it is gone"}))
            for name, (entry, device) in gone.items()
        }
        return [device for _, device in self._known.values()]

    def _look(self) -> list[Entry]:
        folder = self.options.sys / self.folder
        if not folder.is_dir():
            return []
        named = [(self.entry.fullmatch(path.name), path) for path in folder.iterdir()]
        entries = [Entry(int(matched[1]), path) for matched, path in named if matched is not None]
        return sorted((one for one in entries if self.is_one(one)), key=lambda one: one.number)

    def _device(self, entry: Entry) -> Device:
        problem = self.problem_of(entry)
        numa = Entry(0, self.options.sys / "bus/pci/devices" / self.bus_of(entry)).count("numa_node")
        return Device(
            id=re.sub(r"[^A-Za-z0-9._-]", "-", self.name_of(entry)),
            slot=self.slot,
            model=self.model_of(entry),
            memory=self.memory_of(entry),
            numa_node=numa if numa is not None and numa >= 0 else None,
            healthy=not problem,
            problem=problem,
        )

    def statistics(self) -> Mapping[str, Statistics]:
        """Return how the devices do."""
        known = {name: (entry, self.statistics_of(entry)) for name, (entry, _) in self._known.items()}
        if all(now.is_complete for _, now in known.values()):
            return {name: now for name, (_, now) in known.items()}
        return {name: now.filled(self.told_of(entry).statistics) for name, (entry, now) in known.items()}

    def told_of(self, entry: Entry) -> Told:
        """Return what the vendor's program said of a device lately; it is asked again when that is old.

        What it prints is not ours: if it cannot be read at all, it has told nothing, and made nobody well.
        """
        now = time.monotonic()
        if now - self._asked >= ASKED_SECONDS:
            self._asked = now  # one that hangs is not asked more often
            try:
                self._told = self.ask_vendor(self._look(), now + LONGEST_SECONDS)
            except Exception as err:  # whatever reading it may raise
                log.warning("tool.unreadable", slot=self.slot, error=str(err))
                self._told = {key: Told(problem=told.problem) for key, told in self._told.items()}
        return self._told.get(self.key_of(entry), Told())

    def has_files(self, entry: Entry) -> bool:
        """Say whether any of the device's own files is there: without one nobody can use it."""
        patterns = (pattern.format(n=entry.number) for pattern in self.patterns_of(entry))
        return any(path for pattern in patterns for path in self.options.dev.glob(pattern))

    def access(self, device: Device) -> Access:
        """Return the device's files, those that are there, under the names that they have on the node."""
        entry, _ = self._known[device.id]
        patterns = [*self.common_of(entry), *(pattern.format(n=entry.number) for pattern in self.patterns_of(entry))]
        dev = self.options.dev
        found = [path for pattern in patterns for path in sorted(dev.glob(pattern)) if not path.is_dir()]
        return Access(tuple(DeviceFile(path, Path("/dev") / path.relative_to(dev)) for path in found))

    def patterns_of(self, entry: Entry) -> Sequence[str]:
        """Return the patterns of the device's own files."""
        return self.files

    def common_of(self, entry: Entry) -> Sequence[str]:
        """Return the files that its container needs besides, and that say nothing of the device."""
        return self.common

    def numbers(self, given: Sequence[Given]) -> list[int]:
        """Return the numbers of what a kernel was given."""
        return [self._known[one.device.id][0].number for one in given]


def _sensor(entry: Entry, names: Sequence[str], divisor: float) -> float | None:
    for monitor in sorted((entry.folder / "device" / "hwmon").glob("hwmon*")):
        for name in names:
            value = Entry(0, monitor).count(name)
            if value is not None:
                return value / divisor
    return None


def power(entry: Entry) -> float | None:
    """Return the watts that the device's hwmon tells (in microwatts: Linux, hwmon/sysfs-interface)."""
    return _sensor(entry, ("power1_average", "power1_input"), 1e6)


def temperature(entry: Entry) -> float | None:
    """Return the degrees Celsius that the device's hwmon tells (in thousandths)."""
    return _sensor(entry, ("temp1_input",), 1000)
