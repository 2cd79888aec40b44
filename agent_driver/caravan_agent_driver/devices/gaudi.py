"""Intel's Gaudi 2, by the files of the habanalabs driver (Linux, Documentation/ABI/testing/sysfs-driver-habanalabs).

How they do says `hl-smi` (Intel's guide to it, "--query-aip": MiB, watts, per cent). The memory is that of the data
sheet. Scale-out over its own network ports needs /dev/infiniband, which is not given.
"""

import re
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import GIBIBYTE, Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import ask, number, whole

MEBIBYTE = 1024**2
COLUMNS = ("bus_id", "utilization.aip", "memory.used", "power.draw", "temperature.aip")
SMI = ("hl-smi", "-Q", ",".join(COLUMNS), "-f", "csv,noheader,nounits")


class Gaudi2Devices(SysfsDevices):
    """Every Gaudi 2 of the driver that came with Linux 6.2 or later."""

    slot = "gaudi2.device"
    model = "Gaudi 2"
    memory = 96 * GIBIBYTE
    folder = "class/accel"
    entry = re.compile(r"accel(\d+)")
    files = ("accel/accel{n}", "accel/accel_controlD{n}")

    def is_one(self, entry: Entry) -> bool:
        return entry.text("device/device_type").upper().replace(" ", "").startswith("GAUDI2")

    def bus_of(self, entry: Entry) -> str:
        return entry.text("device/pci_addr").lower()

    def problem_of(self, entry: Entry) -> str:
        status = entry.text("device/status")
        return "" if status.lower() == "operational" else f"the driver says: {status or 'nothing'}"

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        return told_by_hl_smi(ask(SMI, until))

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return HABANA_VISIBLE_DEVICES, and HABANA_VISIBLE_MODULES where the modules are known."""
        modules = [
            Entry(0, self.options.sys / self.folder / f"accel{n}").text("device/module_id") for n in self.numbers(given)
        ]
        environ = {"HABANA_VISIBLE_DEVICES": ",".join(str(number) for number in self.numbers(given))}
        return environ | ({"HABANA_VISIBLE_MODULES": ",".join(modules)} if all(modules) else {})


def told_by_hl_smi(text: str) -> dict[str, Told]:
    """Return what hl-smi says of each card, by its bus address: a line each, with the columns that were asked for."""
    told: dict[str, Told] = {}
    for row in (line.split(",") for line in text.splitlines()):
        if len(row) != len(COLUMNS):
            continue
        bus, utilization, memory, power, temperature = row
        told[bus.strip().lower()] = Told(
            Statistics(
                utilization=number(utilization),
                memory_used=whole(memory, MEBIBYTE),
                power=number(power),
                temperature=number(temperature),
            )
        )
    return told
