"""Graphcore's IPUs in the machine itself: PCIe cards, not those of an IPU-POD, which Poplar reaches over the network.

By the driver's folder /sys/class/ipu and device files /dev/ipu<n> and /dev/ipu<n>_*, as Graphcore's `gc-docker` maps
them. Written from memory of Graphcore's guides, and seen on no machine.
"""

import re
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices


class IpuDevices(SysfsDevices):
    """Every IPU."""

    slot = "ipu.device"
    model = "Graphcore IPU"
    folder = "class/ipu"
    entry = re.compile(r"ipu(\d+)")
    files = ("ipu{n}", "ipu{n}_*")

    def is_one(self, entry: Entry) -> bool:
        return (self.options.dev / f"ipu{entry.number}").exists()

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return nothing: Poplar takes the devices that it can open."""
        return {}
