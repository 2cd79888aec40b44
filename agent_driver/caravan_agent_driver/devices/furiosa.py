"""FuriosaAI's NPUs Warboy and RNGD, by their drivers' folders /sys/class/npu_mgmt and /sys/class/rngd_mgmt. Names of
folders, attributes and device files are those that Furiosa's own public libraries for containers read and map; the
memory is that of the data sheets.
"""

import re
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given
from caravan_agent_driver.devices.sysfs import GIBIBYTE, Entry, SysfsDevices


class FuriosaDevices(SysfsDevices):
    """What both have."""

    def bus_of(self, entry: Entry) -> str:
        return entry.text("busname")

    def name_of(self, entry: Entry) -> str:
        """Return the UUID, or else the serial number."""
        name = entry.text("device_uuid") or entry.text("device_sn")
        return f"{self.slot.partition('.')[0]}-{name}" if name else super().name_of(entry)

    def problem_of(self, entry: Entry) -> str:
        return "the driver says that it is not alive" if entry.text("alive") == "0" else ""


class WarboyDevices(FuriosaDevices):
    """Warboy: two cores."""

    slot = "warboy.device"
    model = "Furiosa Warboy"
    memory = 16 * GIBIBYTE
    folder = "class/npu_mgmt"
    entry = re.compile(r"npu(\d+)_mgmt")
    files = ("npu{n}", "npu{n}_mgmt", "npu{n}pe*", "npu{n}ch*")

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return NPU_DEVNAME: both cores of each device as one."""
        return {"NPU_DEVNAME": ",".join(f"npu{number}pe0-1" for number in self.numbers(given))}


class RngdDevices(FuriosaDevices):
    """RNGD: eight cores."""

    slot = "rngd.device"
    model = "Furiosa RNGD"
    memory = 48 * GIBIBYTE
    folder = "class/rngd_mgmt"
    entry = re.compile(r"rngd!npu(\d+)mgmt")
    files = ("rngd/npu{n}[!0-9]*",)

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return FURIOSA_DEVICES, in the form that furiosa-llm takes."""
        return {"FURIOSA_DEVICES": ",".join(f"npu:{number}" for number in self.numbers(given))}
