"""AMD's GPUs, by the amdgpu driver's files in /sys (Linux, "AMDGPU driver, misc. information"; "Deploy ROCm Docker
containers" for the device files), and for what they do not say by `rocm-smi` (its JSON, of ROCm 4 to 6). Given whole:
AMD's GPUs have no shares here.
"""

import re
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices, Told, power, temperature
from caravan_agent_driver.devices.tools import ask, json_in, number, rows, watts, whole

SMI = ("rocm-smi", "--showbus", "--showuse", "--showmeminfo", "vram", "--showpower", "--showtemp", "--json")
POWER = ("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)")
TEMPERATURE = ("Temperature (Sensor edge) (C)", "Temperature (Sensor junction) (C)")
_TABLE: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])
AMD = 0x1002
UNIQUE = "GPU-"


class RocmDevices(SysfsDevices):
    """Every AMD GPU with a render node, on a machine that has the compute interface /dev/kfd."""

    slot = "rocm.device"
    model = "AMD GPU"
    folder = "class/drm"
    entry = re.compile(r"renderD(\d+)")
    files = ("dri/renderD{n}",)
    common = ("kfd",)

    def is_one(self, entry: Entry) -> bool:
        return entry.count("device/vendor") == AMD and (self.options.dev / "kfd").exists()

    def name_of(self, entry: Entry) -> str:
        """Return ROCm's own ID, ``GPU-`` and 16 digits, where the card has one."""
        unique = entry.text("device/unique_id")
        return f"{UNIQUE}{unique.lower().zfill(16)}" if unique.strip("0") else super().name_of(entry)

    def model_of(self, entry: Entry) -> str:
        return entry.text("device/product_name") or self.model

    def memory_of(self, entry: Entry) -> int:
        return entry.count("device/mem_info_vram_total") or 0

    def problem_of(self, entry: Entry) -> str:
        """Look for memory errors that could not be corrected: ``ue: 0`` is the first line of the counter."""
        matched = re.search(r"^ue:\s*(\d+)", entry.text("device/ras/umc_err_count"), re.MULTILINE)
        return f"{matched[1]} memory errors that could not be corrected" if matched and int(matched[1]) else ""

    def statistics_of(self, entry: Entry) -> Statistics:
        busy = entry.count("device/gpu_busy_percent")
        return Statistics(
            utilization=None if busy is None else float(busy),
            memory_used=entry.count("device/mem_info_vram_used"),
            power=power(entry),
            temperature=temperature(entry),
        )

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        return told_by_rocm_smi(ask(SMI, until))

    def patterns_of(self, entry: Entry) -> Sequence[str]:
        """Add the card beside the render node: ``device/drm`` has both."""
        cards = sorted(path.name for path in (entry.folder / "device/drm").glob("card*"))
        return (*self.files, *(f"dri/{name}" for name in cards if re.fullmatch(r"card\d+", name)))

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return which GPUs ROCm uses: those whose files are there, in this order where they have IDs of ROCm's."""
        names = [one.device.id for one in given]
        ordered = all(name.startswith(UNIQUE) for name in names)
        visible = {"ROCR_VISIBLE_DEVICES": ",".join(names)} if ordered else {}
        return visible | {"HIP_VISIBLE_DEVICES": ",".join(str(number) for number in range(len(names)))}


def told_by_rocm_smi(text: str) -> dict[str, Told]:
    """Return what rocm-smi says of each card, by its bus address. Warnings may stand before its JSON, and after it."""
    cards = [card for cards in rows(_TABLE, [json_in(text, "{")]) for card in rows(_TABLE, cards.values())]
    return {
        bus: Told(
            Statistics(
                utilization=number(card.get("GPU use (%)")),
                memory_used=whole(card.get("VRAM Total Used Memory (B)")),
                power=next((value for name in POWER if (value := watts(card.get(name))) is not None), None),
                temperature=next(
                    (value for name in TEMPERATURE if (value := number(card.get(name))) is not None), None
                ),
            )
        )
        for card in cards
        if (bus := str(card.get("PCI Bus", "")).lower())
    }
