"""What a heartbeat says of a node's devices is what is known of them, and no more than a message should hold."""

from caravan_agent_driver.devices.kind import Statistics
from caravan_agent_driver.node import MOST_TOLD, statistics_of
from caravan_common.wire.devices import Device, DeviceStatistics


def _device(name: str) -> Device:
    return Device(id=name, slot="cuda.device", model="A100")


def test_devices_are_told_of_of_which_anything_is_known() -> None:
    known = {"a": Statistics(37.5, 1024, None, 61.0), "b": Statistics(), "gone": Statistics(power=1.0)}
    told = statistics_of([_device("a"), _device("b"), _device("c")], known)
    assert told == {"a": DeviceStatistics(utilization=37.5, memory_used=1024, temperature=61.0)}


def test_of_very_many_devices_not_all_are_told_of() -> None:
    names = [f"d{number}" for number in range(MOST_TOLD + 7)]
    told = statistics_of([_device(name) for name in names], dict.fromkeys(names, Statistics(power=1.0)))
    assert list(told) == names[:MOST_TOLD]
