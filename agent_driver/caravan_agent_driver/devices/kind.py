"""What one kind of accelerator can do. Kinds are found by the entry-point group ``backendai_accelerator_v21``.

An entry point names something that takes the kind's table of the node's device file (see `config.py`), checks it, and
returns a `DeviceKind`: usually a class. It raises pydantic's ValidationError for a wrong table.

Two processes have one of each kind: Nomad's device plugin, which lets Nomad give device files and mounts to containers,
and the agent, which tells the manager of the devices and writes the kernels' environment. Both must find the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from caravan_common.slots import DECIMALS
from caravan_common.wire.devices import Device

GROUP = "backendai_accelerator_v21"


def _check_shares(shares: int) -> int:
    if 10**DECIMALS % shares:
        raise ValueError("a part must be an amount with six digits: 10, 20, 25, 50 or 100 parts, for example")
    return shares


Shares = Annotated[int, Field(ge=1, le=1000), AfterValidator(_check_shares)]
"""Into how many parts a device is divided, as a kind's options say it."""


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """A device file of the node, and where it is in the container."""

    host: Path
    container: Path
    permissions: str = "rw"
    """Of ``r``, ``w`` and ``m`` (make the file), as in a device cgroup."""


@dataclass(frozen=True, slots=True)
class HostPath:
    """A file or folder of the node that the container sees. Not writable, unless it says so."""

    host: Path
    container: Path
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """What must be in a container that has a part of one device.

    A container with several devices gets all of it for each: the same device file may come twice, but two paths at one
    place are an error to Docker. So a path that is there for one device has that device's ID in its place.
    """

    files: tuple[DeviceFile, ...] = ()
    paths: tuple[HostPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """How a device does now; None where the kind cannot tell."""

    utilization: float | None = None
    """In per cent."""
    memory_used: int | None = None
    """In bytes, of `Device.memory`."""
    power: float | None = None
    """In watts."""
    temperature: float | None = None
    """In degrees Celsius."""

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing that somebody else could tell."""
        return None not in (self.utilization, self.memory_used, self.power, self.temperature)

    def filled(self, other: "Statistics") -> "Statistics":
        """Return this with what is not known here from there."""
        return Statistics(
            utilization=other.utilization if self.utilization is None else self.utilization,
            memory_used=other.memory_used if self.memory_used is None else self.memory_used,
            power=other.power if self.power is None else self.power,
            temperature=other.temperature if self.temperature is None else self.temperature,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """What one kernel has of one device; ``amount`` 1 is all of it."""

    device: Device
    amount: Decimal

    @property
    def memory(self) -> int:
        """Return the part of the device's memory in bytes."""
        return int(self.device.memory * self.amount)


class DeviceKind(Protocol):
    """One kind of accelerator on this node. Every method may block: it runs in a thread, one at a time."""

    def list_devices(self) -> Sequence[Device]:
        """Return all devices, also those that are ill, and nothing on a machine that has none. Asked every few seconds.

        When it raises or takes too long, the devices of the last list count as ill.
        """
        ...

    def statistics(self) -> Mapping[str, Statistics]:
        """Return how the devices do, by their ID."""
        ...

    def access(self, device: Device) -> Access:
        """Return what a container needs to use the device."""
        ...

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return the variables of a kernel that has this, all of this kind that it has. Limits are in here, too."""
        ...


class MakeKind(Protocol):
    """What an entry point names."""

    def __call__(self, options: Mapping[str, object], /) -> DeviceKind: ...


def slot_of(kind: str, shares: int) -> str:
    """Return the slot that a device gives: ``cuda.device`` when it is given whole, ``cuda.shares`` when in parts."""
    return f"{kind}.device" if shares == 1 else f"{kind}.shares"
