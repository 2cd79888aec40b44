"""Graphcore's IPUs in the machine itself: PCIe cards, not those of an IPU-POD, which Poplar reaches over the network.

By the driver's folder /sys/class/ipu and device files /dev/ipu<n> and /dev/ipu<n>_*, as Graphcore's `gc-docker` maps
them. Written from memory of Graphcore's guides, and seen on no machine. How an IPU does, and whether it is well, says
`gc-info --device-info` (Graphcore's guide to its command line tools, "Device attributes"), which is asked of each IPU.
One that hangs for one IPU must not keep it from the others, and silence makes no IPU well.
"""

import re
import time
from collections.abc import Mapping, Sequence

from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.sysfs import Entry, SysfsDevices, Told
from caravan_agent_driver.devices.tools import ask, number, watts

WELL = "no errors"
STATE, BOARD = "ipu error state", "board serial number"
LEAST_SECONDS = 0.5
"""How long gc-info may take for one IPU at least; where that leaves no time for all, the next round goes on there."""
Attributes = Mapping[str, str]
"""What gc-info says of an IPU, by its own names."""


class IpuDevices(SysfsDevices):
    """Every IPU."""

    slot = "ipu.device"
    model = "Graphcore IPU"
    folder = "class/ipu"
    entry = re.compile(r"ipu(\d+)")
    files = ("ipu{n}", "ipu{n}_*")

    def __init__(self, options: Mapping[str, object]) -> None:
        super().__init__(options)
        self._said: dict[str, Attributes] = {}
        self._next = 0

    def is_one(self, entry: Entry) -> bool:
        return (self.options.dev / f"ipu{entry.number}").exists()

    def problem_of(self, entry: Entry) -> str:
        return self.told_of(entry).problem

    def ask_vendor(self, entries: Sequence[Entry], until: float) -> Mapping[str, Told]:
        """Ask of each by its number, from where the last round ended; which one it then speaks of, it says itself.

        Of an IPU that was asked in vain only the error and the board of before are known; of one whose turn did not
        come, what was said before.
        """
        names = [self.key_of(entry) for entry in entries]
        said = {name: self._said.get(name, {}) for name in names}
        kept = {name: {key: before[key] for key in (STATE, BOARD) if key in before} for name, before in said.items()}
        answers = self._ask_each(entries, until)
        said |= {name: kept[name] for name in answers}
        for answer in answers.values():
            if (name := answer.get("pci id", "").lower()) in kept:
                said[name] = kept[name] | answer
        self._said |= said
        return told_by_gc_info(said)

    def _ask_each(self, entries: Sequence[Entry], until: float) -> dict[str, dict[str, str]]:
        """Return the answers, by whom was asked; each has its part of the time that is left."""
        turns = sorted(entries, key=lambda entry: (entry.number < self._next, entry.number))
        answers: dict[str, dict[str, str]] = {}
        for place, entry in enumerate(turns):
            now = time.monotonic()
            self._next = entry.number
            if place and until - now < LEAST_SECONDS:
                break
            slice_seconds = max(LEAST_SECONDS, (until - now) / (len(turns) - place))
            text = ask(("gc-info", "--device-info", "-d", str(entry.number)), min(until, now + slice_seconds))
            answers[self.key_of(entry)] = _attributes(text)
            self._next = entry.number + 1
        return answers

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return nothing: Poplar takes the devices that it can open."""
        return {}


def told_by_gc_info(said: Mapping[str, Attributes]) -> dict[str, Told]:
    """Return what gc-info says of each IPU of the machine, by its bus address.

    Where it does not know the IPU's own power it knows the board's, which is the IPU's if it is alone there: if all
    others are known to be on other boards.
    """
    told: dict[str, Told] = {}
    for name, device in said.items():
        boards = [other.get(BOARD) for key, other in said.items() if key != name]
        is_alone = not boards or (None not in {device.get(BOARD), *boards} and device.get(BOARD) not in boards)
        power = watts(device.get("ipu power"))
        state = device.get(STATE, WELL)
        told[name] = Told(
            Statistics(
                utilization=number(device.get("ipu utilisation")),
                power=watts(device.get("total board power")) if power is None and is_alone else power,
                temperature=number(device.get("average die temp")),
            ),
            problem="" if state == WELL else f"gc-info says: {state}",
        )
    return told


def _attributes(text: str) -> dict[str, str]:
    """Return what stands in lines of ``name: value``."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}
