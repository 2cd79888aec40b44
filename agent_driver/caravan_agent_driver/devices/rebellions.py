"""Rebellions' NPUs ATOM, ATOM+ and ATOM-Max, by their driver's folder /sys/class/rebellions. The attributes `card_name`
and `status` are those that Rebellions' public device plugin and feature discovery read; `/dev/rsd0`, which a container
needs besides its NPUs, is from Rebellions' guide to Docker. How they do says `rbln-stat`, which newer drivers call
`rbln-smi` (its JSON as public programs read it, and record it). What its `status` may say besides ``normal`` is not
public, so the driver's says who is ill.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, TypeAdapter

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import GIBIBYTE, Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import ask, json_in, number, rows, watts, whole

PROBLEMS = {"3": "the driver says that it is faulty", "4": "the driver has given it up"}
"""By `status`; 0, 1 and 2 are ready, busy and starting."""
PROGRAMS = ("rbln-stat", "rbln-smi")


class _Memory(BaseModel):
    used: object = None


class _Npu(BaseModel):
    device: str
    sid: object = ""
    util: object = None
    temperature: object = None
    card_power: object = None
    memory: _Memory | None = None


class _Machine(BaseModel):
    devices: list[object]


_MACHINE, _NPU = TypeAdapter(_Machine), TypeAdapter(_Npu)


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

    def key_of(self, entry: Entry) -> str:
        return f"rbln{entry.number}"

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        return told_by_rbln_stat(next((said for name in PROGRAMS if (said := ask((name, "--json"), until))), ""))

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


def told_by_rbln_stat(text: str) -> dict[str, Told]:
    """Return what rbln-stat says of each NPU, by its name in /dev.

    The power is the card's: several NPUs of one card (ATOM-Max) say the same, so of those nobody knows it.
    """
    npus = [npu for machine in rows(_MACHINE, [json_in(text, "{")]) for npu in rows(_NPU, machine.devices)]
    cards = Counter(str(npu.sid).strip() for npu in npus)
    return {
        npu.device: Told(
            Statistics(
                utilization=number(npu.util),
                memory_used=whole((npu.memory or _Memory()).used),
                power=watts(npu.card_power) if cards[str(npu.sid).strip()] == 1 else None,
                temperature=number(npu.temperature),
            )
        )
        for npu in npus
    }
