"""Google's TPUs in machines of Google's cloud, by their PCI IDs (those that JAX goes by).

Up to v4 a chip is /dev/accel<n>; later ones are given by VFIO: /dev/vfio/<group> of the chip, and /dev/vfio/vfio.
"""

import re
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices

GOOGLE = 0x1AE0
CHIPS = {
    0x0027: "TPU v3",
    0x005E: "TPU v4",
    0x0062: "TPU v5p",
    0x0063: "TPU v5e",
    0x006F: "TPU v6e",
    0x0076: "TPU7x",
}
BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
"""How so many chips of one machine lie in space."""


class TpuDevices(SysfsDevices):
    """Every chip; its number is its place in the order of PCI addresses."""

    slot = "tpu.device"
    model = "TPU"
    folder = "bus/pci/devices"
    entry = re.compile(r"[0-9a-f]{4}:([0-9a-f]{2}):[0-9a-f]{2}\.[0-7]")
    files = ("accel{n}",)

    def _look(self) -> list[Entry]:
        folder = self.options.sys / self.folder
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        chips = [path for path in paths if self.entry.fullmatch(path.name) and self.is_one(Entry(0, path))]
        return [Entry(number, path) for number, path in enumerate(chips)]

    def is_one(self, entry: Entry) -> bool:
        return entry.count("vendor") == GOOGLE and entry.count("device") in CHIPS

    def bus_of(self, entry: Entry) -> str:
        return entry.folder.name

    def model_of(self, entry: Entry) -> str:
        return CHIPS.get(entry.count("device") or 0, self.model)

    def problem_of(self, entry: Entry) -> str:
        return "" if self.has_files(entry) else "it has no device file: its driver is not there"

    def patterns_of(self, entry: Entry) -> Sequence[str]:
        group = entry.link("iommu_group")
        return (*self.files, *((f"vfio/{group}",) if group else ()))

    def common_of(self, entry: Entry) -> Sequence[str]:
        """Return VFIO's control file, which is there on any machine with VFIO."""
        return ("vfio/vfio",) if entry.link("iommu_group") else ()

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return which chips libtpu takes, and that they are all there is: no other machine, no metadata server."""
        environ = {
            "TPU_VISIBLE_CHIPS": ",".join(str(number) for number in self.numbers(given)),
            "TPU_PROCESS_BOUNDS": "1,1,1",
            "TPU_SKIP_MDS_QUERY": "true",
        }
        bounds = BOUNDS.get(len(given))
        return environ | ({"TPU_CHIPS_PER_PROCESS_BOUNDS": bounds} if bounds else {})
