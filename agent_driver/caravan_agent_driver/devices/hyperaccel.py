"""HyperAccel's LPUs. Names of files and attributes are not public; seen on no machine.

The cards are taken to be FPGAs that are reached by the XDMA driver (/dev/xdma<n>_*), as others may be, too. So nothing
is found unless an operator says which PCI IDs are LPUs::

    [kinds.hyperaccel-lpu]
    pci_ids = ["10ee:903f"]
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, cast

from pydantic import StringConstraints

from caravan_agent_driver.devices.kind import Given
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices, SysfsOptions


class LpuOptions(SysfsOptions):
    """``[kinds.hyperaccel-lpu]`` of the device file."""

    pci_ids: list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]] = []


class LpuDevices(SysfsDevices):
    """The cards that the operator named; none by default."""

    slot = "hyperaccel-lpu.device"
    model = "HyperAccel LPU"
    folder = "class/xdma"
    entry = re.compile(r"xdma(\d+)_user")
    files = ("xdma{n}_*",)
    Options: ClassVar[type[SysfsOptions]] = LpuOptions

    def is_one(self, entry: Entry) -> bool:
        vendor, device = entry.count("device/vendor"), entry.count("device/device")
        return f"{vendor or 0:04x}:{device or 0:04x}" in cast(LpuOptions, self.options).pci_ids

    def problem_of(self, entry: Entry) -> str:
        return "" if self.has_files(entry) else "it has no device file"

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return nothing: no variable is known."""
        return {}
