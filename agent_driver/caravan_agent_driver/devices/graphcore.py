"""Graphcore's IPUs in the machine itself: PCIe cards, not those of an IPU-POD, which Poplar reaches over the network.

By the driver's folder /sys/class/ipu and device files /dev/ipu<n> and /dev/ipu<n>_*, as Graphcore's `gc-docker` maps
them. Written from memory of Graphcore's guides, and seen on no machine. How an IPU does, and whether it is well, says
`gc-info --device-info` (Graphcore's guide to its command line tools, "Device attributes").
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import ask, number, watts

WELL = "no errors"


class IpuDevices(SysfsDevices):
    """Every IPU."""

    slot = "ipu.device"
    model = "Graphcore IPU"
    folder = "class/ipu"
    entry = re.compile(r"ipu(\d+)")
    files = ("ipu{n}", "ipu{n}_*")

    def is_one(self, entry: Entry) -> bool:
        return (self.options.dev / f"ipu{entry.number}").exists()

    def problem_of(self, entry: Entry) -> str:
        return self.told_of(entry).problem

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        """Ask of each by its number; which one it then speaks of, it says itself."""
        return told_by_gc_info([ask(("gc-info", "--device-info", "-d", str(entry.number)), until) for entry in entries])

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return nothing: Poplar takes the devices that it can open."""
        return {}


def told_by_gc_info(said: Sequence[str]) -> dict[str, Told]:
    """Return what gc-info says of each IPU, by its bus address: lines of ``name: value``.

    Where it does not know the IPU's own power it knows the board's, which is the IPU's if it is alone there.
    """
    devices = [dict(_attributes(text)) for text in said]
    boards = Counter(device.get("board serial number") for device in devices)
    told: dict[str, Told] = {}
    for device in devices:
        power = watts(device.get("ipu power"))
        if power is None and boards[device.get("board serial number")] == 1:
            power = watts(device.get("total board power"))
        state = device.get("ipu error state", WELL)
        told[device.get("pci id", "").lower()] = Told(
            Statistics(
                utilization=number(device.get("ipu utilisation")),
                power=power,
                temperature=number(device.get("average die temp")),
            ),
            problem="" if state == WELL else f"gc-info says: {state}",
        )
    told.pop("", None)
    return told


def _attributes(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
