"""FuriosaAI's NPUs Warboy and RNGD, by their drivers' folders /sys/class/npu_mgmt and /sys/class/rngd_mgmt. Names of
folders, attributes and device files are those that Furiosa's own public libraries for containers read and map; the
memory is that of the data sheets. How they do says `furiosa-smi` (its JSON as public programs read it). Which words its
`liveness` has is not public, so the driver's `alive` says who is ill.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import AliasChoices, BaseModel, Field, FiniteFloat, TypeAdapter

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import GIBIBYTE, Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import Row, ask, json_in, number, rows, watts, whole


class _Info(BaseModel):
    """An element of what ``furiosa-smi info`` says: ``"temperature": "41.33°C", "power": "38.40 W"``."""

    dev_name: str
    temperature: object = None
    power: object = None


class _Core(BaseModel):
    percent: FiniteFloat = Field(validation_alias=AliasChoices("pe_utilization", "utilization"))


class _Dram(BaseModel):
    used_size: object = None


class _Memory(BaseModel):
    dram: _Dram | None = Field(default=None, validation_alias=AliasChoices("dram", "DRAM"))


class _Status(BaseModel):
    """An element of what ``furiosa-smi status`` says; RNGD's has the memory in bytes."""

    device: str
    pe_utilizations: list[_Core] | None = None
    memory: _Memory | None = None


_LIST: TypeAdapter[list[object]] = TypeAdapter(list[object])
_INFO, _STATUS = TypeAdapter(_Info), TypeAdapter(_Status)


class FuriosaDevices(SysfsDevices):
    """What both have."""

    as_json: ClassVar[str]
    """The option of furiosa-smi for JSON; each kind's program has its own."""

    def bus_of(self, entry: Entry) -> str:
        return entry.text("busname")

    def name_of(self, entry: Entry) -> str:
        """Return the UUID, or else the serial number."""
        name = entry.text("device_uuid") or entry.text("device_sn")
        return f"{self.slot.partition('.')[0]}-{name}" if name else super().name_of(entry)

    def problem_of(self, entry: Entry) -> str:
        return "the driver says that it is not alive" if entry.text("alive") == "0" else ""

    def key_of(self, entry: Entry) -> str:
        return f"npu{entry.number}"

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        info, status = (ask(("furiosa-smi", what, self.as_json, "json"), until) for what in ("info", "status"))
        return told_by_furiosa_smi(info, status)


class WarboyDevices(FuriosaDevices):
    """Warboy: two cores."""

    slot = "warboy.device"
    model = "Furiosa Warboy"
    memory = 16 * GIBIBYTE
    folder = "class/npu_mgmt"
    entry = re.compile(r"npu(\d+)_mgmt")
    as_json = "--output"
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
    as_json = "--format"
    files = ("rngd/npu{n}[!0-9]*",)

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return FURIOSA_DEVICES, in the form that furiosa-llm takes."""
        return {"FURIOSA_DEVICES": ",".join(f"npu:{number}" for number in self.numbers(given))}


def told_by_furiosa_smi(info: str, status: str) -> dict[str, Told]:
    """Return what furiosa-smi says of each NPU, by its name: a device does what its cores do on average."""
    infos = {one.dev_name: one for one in _read(_INFO, info)}
    statuses = {one.device: one for one in _read(_STATUS, status)}
    told: dict[str, Told] = {}
    for name in infos.keys() | statuses.keys():
        one, cores = infos.get(name, _Info(dev_name=name)), statuses.get(name, _Status(device=name))
        percents = [core.percent for core in cores.pe_utilizations or ()]
        dram = (cores.memory or _Memory()).dram or _Dram()
        told[name] = Told(
            Statistics(
                utilization=sum(percents) / len(percents) if percents else None,
                memory_used=whole(dram.used_size),
                power=watts(one.power),
                temperature=number(one.temperature),
            )
        )
    return told


def _read(form: TypeAdapter[Row], text: str) -> list[Row]:
    return [row for values in rows(_LIST, [json_in(text, "[")]) for row in rows(form, values)]
