"""Nodes and requests of a benchmark, and the map of devices that judges every placement of every arm."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MILLION = 1_000_000
DEVICES = 8


@dataclass(frozen=True, slots=True)
class Request:
    """What one session asks of one node: millionths of a core, bytes, and whole devices or millionths of one device."""

    cpu: int
    mem: int
    whole: int = 0
    part: int = 0
    models: frozenset[str] = frozenset()

    @property
    def gpu(self) -> int:
        """All it asks of devices, in millionths."""
        return self.whole * MILLION + self.part


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a request goes: the node's place in the list, and what it takes of which device, in millionths."""

    node: int
    devices: tuple[tuple[int, int], ...]


class Arm(Protocol):
    """One scheduler under test, with a cluster of its own that starts empty."""

    def place(self, request: Request) -> Placement | None:
        """Place the request and remember it; None when it fits nowhere."""
        ...


@dataclass(slots=True)
class Nodes:
    """A cluster in arrays: what is free, in the order of names; `gpu` is nodes x 8, -1 where there is no device."""

    names: list[str]
    models: list[str]
    model: Ints
    cpu: Ints
    mem: Ints
    gpu: Ints

    def copy(self) -> "Nodes":
        """Return the same cluster for another arm."""
        arrays = (self.model.copy(), self.cpu.copy(), self.mem.copy(), self.gpu.copy())
        return Nodes(list(self.names), list(self.models), *arrays)

    @property
    def capacity(self) -> int:
        """All that is free of devices, in millionths."""
        return int(np.maximum(self.gpu, 0).sum())

    def take(self, request: Request, placement: Placement) -> str | None:
        """Give the request what the placement says; returns why not, when the node cannot give it."""
        node, gpu = placement.node, self.gpu[placement.node]
        if sum(amount for _, amount in placement.devices) != request.gpu:
            return "the devices' shares are not what was asked"
        if request.whole and any(amount != MILLION for _, amount in placement.devices):
            return "a whole device was asked and a share given"
        if request.part and len(placement.devices) != 1:
            return "a share lies on several devices"
        if len({device for device, _ in placement.devices}) != len(placement.devices):
            return "a device was given twice"
        if any(gpu[device] < amount for device, amount in placement.devices):
            return "a device has less"
        if self.cpu[node] < request.cpu or self.mem[node] < request.mem:
            return "the node has less CPU or memory"
        if request.models and self.models[self.model[node]] not in request.models:
            return "the model is another"
        self.cpu[node] -= request.cpu
        self.mem[node] -= request.mem
        for device, amount in placement.devices:
            gpu[device] -= amount
        return None


def made_up(count: int, seed: int = 0) -> Nodes:
    """Return a cluster of equal nodes with 8 devices, as the measurements of speed use it."""
    rng = np.random.default_rng(seed)
    cpu = rng.choice([64, 96, 128], count).astype(np.int64) * MILLION
    return Nodes(
        names=[f"node-{number:05d}" for number in range(count)],
        models=["A100"],
        model=np.zeros(count, dtype=np.int64),
        cpu=cpu,
        mem=np.full(count, 512 << 30, dtype=np.int64),
        gpu=np.full((count, DEVICES), MILLION, dtype=np.int64),
    )
