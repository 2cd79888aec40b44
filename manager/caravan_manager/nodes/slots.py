"""The resource slots that people can ask for: how each is counted, and how clients show it. No I/O.

Names and types are Backend.AI's. cpu and memory are everywhere; accelerators are known once a node offers them. Of its
four types, ``count``, ``bytes``, ``unique`` and ``unified``, the last has no slot here: it is that of devices which a
session gets all together and counts as one, and no kind of accelerator that Caravan knows is given so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from math import gcd

from caravan_common.slots import BYTES_SLOTS

INTRINSIC = ("cpu", "mem")
"""The slots that every node has."""
PARTS = ".shares"
"""How the names of slots end that are given in parts of a device."""
Divisions = Mapping[str, frozenset[int]]
"""Of each slot that devices give, into how many shares each of them is divided: never empty, 1 for a whole device."""


@dataclass(frozen=True, slots=True)
class SlotDetail:
    """How clients show a slot: ``digits`` is how many they write behind the point."""

    title: str
    unit: str
    icon: str
    name: str | None = None
    digits: int = 0


_DETAILS = {
    "cpu": SlotDetail("CPU", "Core", "cpu"),
    "mem": SlotDetail("RAM", "GiB", "cpu", name="ram"),
    "cuda.device": SlotDetail("CUDA-capable GPU", "GPU", "gpu1"),
    "cuda.shares": SlotDetail("CUDA-capable GPU (fractional)", "fGPU", "gpu1", digits=2),
    "rocm.device": SlotDetail("ROCm-capable GPU", "GPU", "gpu2"),
    "tpu.device": SlotDetail("TPU", "TPU", "tpu"),
    "ipu.device": SlotDetail("Graphcore IPU", "IPU", "ipu"),
    "atom.device": SlotDetail("Rebellions ATOM", "ATOM", "rebel"),
    "atom-plus.device": SlotDetail("Rebellions ATOM+", "ATOM+", "rebel"),
    "atom-max.device": SlotDetail("Rebellions ATOM-Max", "ATOM-Max", "rebel"),
    "gaudi.device": SlotDetail("Intel Gaudi", "Gaudi", "gaudi"),
    "gaudi2.device": SlotDetail("Intel Gaudi 2", "Gaudi 2", "gaudi"),
    "warboy.device": SlotDetail("FuriosaAI Warboy", "Warboy", "furiosa"),
    "rngd.device": SlotDetail("FuriosaAI RNGD", "RNGD", "furiosa"),
    "hyperaccel-lpu.device": SlotDetail("HyperAccel LPU", "LPU", "npu_generic"),
    "tt-n300.device": SlotDetail("Tenstorrent n300", "n300", "tenstorrent"),
    "xpu.device": SlotDetail("Intel XPU", "XPU", "npu_generic"),
}


def slot_type(slot: str) -> str:
    """Return how a slot is counted: ``bytes``, ``count``, or ``unique``."""
    if slot in BYTES_SLOTS:
        return "bytes"
    return "unique" if is_unique(slot) else "count"


def is_unique(slot: str) -> bool:
    """Whether a container has one of a slot or none: a program can use one partition (MIG) of a GPU only."""
    return ":" in slot


def quantum(divisions: Divisions) -> float | None:
    """Return the least part of which every device of slots gives each multiple, where some are given in parts.

    20 shares make a quantum of 0.05; 20 and 50 one of 0.1, for a device of 50 shares gives no 0.05.
    """
    in_parts = [shares for slot, shares in divisions.items() if max(shares) > 1 or slot.endswith(PARTS)]
    return 1 / gcd(*chain.from_iterable(in_parts)) if in_parts else None


def together(of_groups: Iterable[Divisions]) -> dict[str, frozenset[int]]:
    """Return the divisions of the devices of several scaling groups."""
    found: dict[str, frozenset[int]] = {}
    for group in of_groups:
        for slot, shares in group.items():
            found[slot] = found.get(slot, frozenset()) | shares
    return found


def slot_types(offered: Iterable[str]) -> dict[str, str]:
    """Return the type of each slot that there is: those of every node, then those that some node offers."""
    return {slot: slot_type(slot) for slot in (*INTRINSIC, *sorted(set(offered) - set(INTRINSIC)))}


def slot_details(offered: Iterable[str], divisions: Divisions) -> dict[str, dict[str, object]]:
    """Return how clients show each slot, in the form of Backend.AI 25.5.2; what is given in parts has a quantum."""
    details = {slot: _shown(slot, _DETAILS.get(slot) or _unknown(slot)) for slot in slot_types(offered)}
    for slot, shares in divisions.items():
        if slot in details and (size := quantum({slot: shares})) is not None:
            details[slot]["quantum_size"] = size
    return details


def _unknown(slot: str) -> SlotDetail:
    kind = slot.partition(".")[0]
    return SlotDetail(kind.upper(), kind.upper(), "npu_generic", digits=2 if slot.endswith(PARTS) else 0)


def _shown(slot: str, detail: SlotDetail) -> dict[str, object]:
    return {
        "slot_name": detail.name or slot,
        "description": detail.title,
        "human_readable_name": detail.title,
        "display_unit": detail.unit,
        "number_format": {"binary": slot in BYTES_SLOTS, "round_length": detail.digits},
        "display_icon": detail.icon,
    }
