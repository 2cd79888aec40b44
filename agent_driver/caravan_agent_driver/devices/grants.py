"""What a kernel gets for the devices that the manager gave it: variables, and lines of resource.txt.

The GPU_* variables are those of Backend.AI, for the first kind that the kernel has:

| variable | value |
|-|-|
| GPU_TYPE | the kind: ``cuda`` |
| GPU_MODEL_NAME | the model of the first device |
| GPU_COUNT, N_GPUS | how many devices, counted in parts of them, too |
| GPU_CONFIG | the memory of each: ``0:24g,1:80g`` |
| TF_GPU_MEMORY_ALLOC | the same in MiB: ``0:24576,1:81920`` |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.devices.kind import DeviceKind, Given
from caravan_common.errors import ConflictError, UnavailableError
from caravan_common.wire.devices import Device, DeviceShare, kind_of

MEBIBYTE = 1024**2
_UNITS = ((1024**4, "t"), (1024**3, "g"), (MEBIBYTE, "m"), (1024, "k"))
NO_DEVICES = {"GPU_COUNT": "0", "N_GPUS": "0"}


class DeviceRefusedError(ConflictError):
    """The kernel was given of a device what nobody can ever have of it."""

    title = "The node cannot give this device."


class DeviceLostError(UnavailableError):
    """The kernel was given a device that is ill, or not there, at the moment: another one may do, or this one later."""

    title = "The node does not have this device now."


@dataclass(frozen=True, slots=True)
class Grant:
    """What a kernel's files say of its devices."""

    environ: Mapping[str, str] = field(default_factory=lambda: NO_DEVICES)
    resources: str = ""
    """Lines of resource.txt."""


def grant(inventory: Inventory, shares: Sequence[DeviceShare]) -> Grant:
    """Return what the kernel gets.

    Raises DeviceRefusedError when it can never have a device so, and if that is right DeviceLostError when it cannot
    have it now.
    """
    found = [(share, inventory.find(share.id)) for share in shares]
    if len({share.id for share in shares}) < len(shares):
        raise DeviceRefusedError("the same device is given twice")
    for share, known in found:
        if known is not None:
            _check(known[0], share)
    given: dict[str, list[Given]] = {}
    kinds: dict[str, DeviceKind] = {}
    for share, known in found:
        if known is None:
            raise DeviceLostError(f"this node has no device {share.id}")
        device, source = known
        if not device.healthy:
            raise DeviceLostError(f"the device {device.id} is ill: {device.problem}")
        kinds[source.name] = source.kind
        given.setdefault(source.name, []).append(Given(device, share.amount))
    environ: dict[str, str] = {}
    for name, all_of_it in given.items():
        environ |= kinds[name].environment(all_of_it)
    everything = [one for all_of_it in given.values() for one in all_of_it]
    return Grant(environ | _gpu_variables(everything), _resources(everything))


def _check(device: Device, share: DeviceShare) -> None:
    if device.slot != share.slot:
        raise DeviceRefusedError(f"the device {device.id} gives {device.slot}, and no {share.slot}")
    if share.amount * device.shares % 1:
        raise DeviceRefusedError(f"{share.amount} of {device.id} cannot be: it has {device.shares} parts")


def _gpu_variables(given: Sequence[Given]) -> dict[str, str]:
    if not given:
        return NO_DEVICES
    kind = given[0].device.kind
    same = [one for one in given if one.device.kind == kind]
    return {
        "GPU_TYPE": kind,
        "GPU_MODEL_NAME": same[0].device.model,
        "GPU_COUNT": str(len(same)),
        "N_GPUS": str(len(same)),
        "GPU_CONFIG": ",".join(f"{number}:{size(one.memory)}" for number, one in enumerate(same)),
        "TF_GPU_MEMORY_ALLOC": ",".join(f"{number}:{one.memory // MEBIBYTE}" for number, one in enumerate(same)),
    }


def _resources(given: Sequence[Given]) -> str:
    """Return ``<SLOT>_SHARES=<device>:<amount>,…`` for each slot, and of each kind ``…_SHARES`` or ``…_DEVICES``."""
    lines: list[str] = []
    for slot in dict.fromkeys(one.device.slot for one in given):
        of_slot = [one for one in given if one.device.slot == slot]
        amounts = ",".join(f"{one.device.id}:{one.amount}" for one in of_slot)
        name = kind_of(slot).upper().replace("-", "_")
        lines.append(f"{slot.upper()}_SHARES={amounts}")
        if slot.endswith(".shares"):
            lines.append(f"{name}_SHARES={amounts}")
        lines.append(f"{name}_DEVICES={','.join(one.device.id for one in of_slot)}")
    return "".join(f"{line}\n" for line in lines)


def size(count: int) -> str:
    """Return a number of bytes in its largest whole unit: ``24g``, ``1536m``."""
    return next((f"{count // unit}{letter}" for unit, letter in _UNITS if count and count % unit == 0), str(count))
