"""Accelerators that are not there: any mix of kinds and models, said in the device file, to try Caravan without any.

A kernel sees made-up variables, and for each device a file ``/dev/<id>`` that is the node's /dev/null. A device falls
ill, and gets well, as the file is edited::

    [kinds.fake]
    ill = ["fake-cuda-3"]

    [[kinds.fake.devices]]
    slot = "cuda.shares"
    model = "Fake-H100"
    count = 8                # fake-cuda-0 to fake-cuda-7
    shares = 20
    memory = "80g"
    numa_nodes = 2           # the devices are spread over so many
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from caravan_agent_driver.devices.kind import Access, DeviceFile, Given, Shares, Statistics
from caravan_common.config import Section
from caravan_common.slots import ResourceSlots, parse_bytes
from caravan_common.wire.devices import Device, kind_of


def _slot(name: str) -> str:
    ResourceSlots.parse({name: 1})
    return name


def _size(text: str) -> str:
    parse_bytes(text)
    return text


class FakeGroup(Section):
    """Some devices that are the same."""

    slot: Annotated[str, AfterValidator(_slot)]
    model: str = "Fake"
    count: int = Field(default=1, ge=1, le=1000)
    shares: Shares = 1
    memory: Annotated[str, AfterValidator(_size)] = "0"
    numa_nodes: int = Field(default=1, ge=1)


class FakeOptions(Section):
    """``[kinds.fake]`` of the device file."""

    devices: list[FakeGroup] = []
    ill: list[str] = []


class FakeDevices:
    """The devices of the file."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self._options = FakeOptions.model_validate(options)

    def list_devices(self) -> Sequence[Device]:
        """Return them, numbered from 0 in each kind."""
        devices: list[Device] = []
        for group in self._options.devices:
            kind = kind_of(group.slot)
            first = sum(device.kind == kind for device in devices)
            devices += [self._device(group, f"fake-{kind}-{first + number}", number) for number in range(group.count)]
        return devices

    def _device(self, group: FakeGroup, name: str, number: int) -> Device:
        ill = name in self._options.ill
        return Device(
            id=name,
            slot=group.slot,
            model=group.model,
            shares=group.shares,
            memory=parse_bytes(group.memory),
            numa_node=number * group.numa_nodes // group.count,
            healthy=not ill,
            problem="the device file says so" if ill else "",
        )

    def statistics(self) -> Mapping[str, Statistics]:
        """Return devices at rest."""
        at_rest = Statistics(utilization=0.0, memory_used=0, power=10.0, temperature=30.0)
        return {device.id: at_rest for device in self.list_devices()}

    def access(self, device: Device) -> Access:
        """Return /dev/null under the device's name."""
        return Access(files=(DeviceFile(Path("/dev/null"), Path("/dev") / device.id),))

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return ``<KIND>_VISIBLE_DEVICES`` and ``<KIND>_MEMORY_LIMITS`` in bytes for each kind."""
        environ: dict[str, str] = {}
        for kind in dict.fromkeys(one.device.kind for one in given):
            same = [one for one in given if one.device.kind == kind]
            name = kind.upper().replace("-", "_")
            environ[f"{name}_VISIBLE_DEVICES"] = ",".join(one.device.id for one in same)
            environ[f"{name}_MEMORY_LIMITS"] = ",".join(str(one.memory) for one in same)
        return environ
