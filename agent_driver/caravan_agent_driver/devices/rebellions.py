"""Rebellions' NPUs ATOM, ATOM+ and ATOM-Max, by their driver's folder /sys/class/rebellions. The attributes `card_name`
and `status` are those that Rebellions' public device plugin and feature discovery read; `/dev/rsd0`, which a container
needs besides its NPUs, is from Rebellions' guide to Docker.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from caravan_agent_driver.devices.kind import Given
from caravan_agent_driver.devices.sysfs import GIBIBYTE, Entry, SysfsDevices

PROBLEMS = {"3": "the driver says that it is faulty", "4": "the driver has given it up"}
"""By `status`; 0, 1 and 2 are ready, busy and starting."""


class RebellionsDevices(SysfsDevices):
    """What all have. Which card it is, its name says: ``RBLN-CA22``."""

    cards: ClassVar[tuple[str, ...]]
    folder = "class/rebellions"
    entry = re.compile(r"rbln(\d+)")
    files = ("rbln{n}",)
    common = ("rsd0",)

    def is_one(self, entry: Entry) -> bool:
        return entry.text("card_name").upper().startswith(self.cards)

    def model_of(self, entry: Entry) -> str:
        return entry.text("card_name")

    def memory_of(self, entry: Entry) -> int:
        return entry.count("dram_total") or self.memory

    def problem_of(self, entry: Entry) -> str:
        return PROBLEMS.get(entry.text("status"), "")

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return RBLN_DEVICES: numbers count only those whose files are in the container."""
        return {"RBLN_DEVICES": ",".join(str(number) for number in range(len(given)))}


class AtomDevices(RebellionsDevices):
    """ATOM."""

    slot = "atom.device"
    model = "RBLN-CA02"
    memory = 16 * GIBIBYTE
    cards = ("RBLN-CA0",)


class AtomPlusDevices(RebellionsDevices):
    """ATOM+."""

    slot = "atom-plus.device"
    model = "RBLN-CA22"
    memory = 16 * GIBIBYTE
    cards = ("RBLN-CA12", "RBLN-CA22")


class AtomMaxDevices(RebellionsDevices):
    """ATOM-Max."""

    slot = "atom-max.device"
    model = "RBLN-CA25"
    memory = 64 * GIBIBYTE
    cards = ("RBLN-CA25",)
