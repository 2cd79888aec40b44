"""What Nomad is told of devices. Pure. A physical device is a group of its own, its parts are the group's instances."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from caravan_agent_driver.devices.kind import Access, Statistics
from caravan_agent_driver.plugin import nomad_pb2 as nomad
from caravan_common.wire.devices import VENDOR, Device

MEBIBYTE = 1024**2
SEPARATOR = "::"


def instances(device: Device) -> list[str]:
    """Return the names of the device's parts."""
    return [f"{device.id}{SEPARATOR}{number}" for number in range(device.shares)]


def device_of(instance: str) -> str:
    """Return the device that a part is of."""
    return instance.rpartition(SEPARATOR)[0]


def fingerprint(devices: Iterable[Device]) -> nomad.FingerprintResponse:
    """Return the whole picture. A device that is ill stays in it, and why: Nomad places nothing there."""
    return nomad.FingerprintResponse(device_group=[_group(device) for device in devices])


def _group(device: Device) -> nomad.DeviceGroup:
    # Without the first one, a job that waits for the device would go on waiting when it is well again: Nomad remembers
    # which classes of nodes cannot run a job, and a node's class is of the attributes, not of the instances' health.
    attributes = {
        "healthy": nomad.Attribute(bool_val=device.healthy),
        "slot": nomad.Attribute(string_val=device.slot),
        "model": nomad.Attribute(string_val=device.model),
        "shares": nomad.Attribute(int_val=device.shares),
        "memory": nomad.Attribute(int_val=device.memory // MEBIBYTE, unit="MiB"),
    }
    if device.numa_node is not None:
        attributes["numa_node"] = nomad.Attribute(int_val=device.numa_node)
    return nomad.DeviceGroup(
        vendor=VENDOR,
        device_type=device.kind,
        device_name=device.id,
        devices=[
            nomad.DetectedDevice(ID=instance, healthy=device.healthy, health_description=device.problem)
            for instance in instances(device)
        ],
        attributes=attributes,
    )


def reservation(device: Device, parts: Sequence[str], access: Access) -> nomad.ReserveResponse:
    """Return what a task with these parts of the device gets.

    Nomad merges the variables of a task's devices name by name: each device has one of its own, for people to see. What
    programs go by is in the kernel's environ.txt, which the agent writes, because it knows all devices of a kernel.
    """
    name = re.sub(r"[^A-Z0-9]", "_", device.id.upper())
    return nomad.ReserveResponse(
        container_res=nomad.ContainerReservation(
            envs={f"CARAVAN_DEVICE_{name}": f"{device.slot}:{len(parts)}/{device.shares}"},
            devices=[
                nomad.DeviceFile(host_path=str(f.host), task_path=str(f.container), permissions=f.permissions)
                for f in access.files
            ],
            mounts=[
                nomad.Mount(host_path=str(p.host), task_path=str(p.container), read_only=p.read_only)
                for p in access.paths
            ],
        )
    )


def statistics(devices: Iterable[Device], known: Mapping[str, Statistics], at: datetime) -> nomad.StatsResponse:
    """Return how the devices do; each part shows what the whole device does.

    The time is needed: Nomad drops what has none, and its command line then fails on the hole.
    """
    groups: list[nomad.DeviceGroupStats] = []
    for device in devices:
        if device.id in known:
            stats = _stats(device, known[device.id], at)
            groups.append(
                nomad.DeviceGroupStats(
                    vendor=VENDOR,
                    type=device.kind,
                    name=device.id,
                    instance_stats=dict.fromkeys(instances(device), stats),
                )
            )
    return nomad.StatsResponse(groups=groups)


def _stats(device: Device, now: Statistics, at: datetime) -> nomad.DeviceStats:
    values: dict[str, nomad.StatValue] = {}
    for name, value, unit in (
        ("Utilization", now.utilization, "%"),
        ("Power usage", now.power, "W"),
        ("Temperature", now.temperature, "C"),
    ):
        if value is not None:
            values[name] = nomad.StatValue(float_numerator_val={"value": value}, unit=unit, desc=name)
    if now.memory_used is not None:
        values["Memory"] = nomad.StatValue(
            int_numerator_val={"value": now.memory_used // MEBIBYTE},
            int_denominator_val={"value": device.memory // MEBIBYTE},
            unit="MiB",
            desc="Memory",
        )
    summary = values.get("Memory") or next(iter(values.values()), None)
    return nomad.DeviceStats(summary=summary, stats=nomad.StatObject(attributes=values), timestamp=at)
