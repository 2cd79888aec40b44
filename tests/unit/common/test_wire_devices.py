"""What an agent may say of a node's devices: nothing that makes the manager mount what it likes, or fail over it."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from caravan_common.wire.devices import Device, DeviceStatistics
from caravan_common.wire.events import EVENT, NodeHeartbeat

OTHER_FOLDERS = [
    "/root",
    "/..",
    "/run/nvidia-mps",
    "/run/nvidia-mps/",
    "/run/nvidia-mps/..",
    "/run/nvidia-mps/../..",
    "/run/nvidia-mps/shm/..",
    "/run/nvidia-mps/shm\n",
    "/run/nvidia-mps/shm:rw",
    "/run/nvidia-mps/${attr}",
    "/run/nvidia-mps2/shm",
    "/mnt/run/nvidia-mps/shm",
    "/dev/shm",
    "run/nvidia-mps/shm",
]
"""Paths that cannot be the shared memory of a device."""


@pytest.mark.parametrize("folder", OTHER_FOLDERS)
def test_no_other_folder_can_be_said_to_be_a_device_s_shared_memory(folder: str) -> None:
    with pytest.raises(ValidationError, match="shared_memory"):
        Device(id="GPU-1", slot="cuda.shares", model="A100", shared_memory=folder)


def test_a_device_s_shared_memory_has_a_place_of_its_own() -> None:
    for folder in ("", "/run/nvidia-mps/shm", "/run/nvidia-mps/gpu_0-1"):
        assert Device(id="GPU-1", slot="cuda.shares", model="A100", shared_memory=folder).shared_memory == folder


@pytest.mark.parametrize("odd", [{"memory": 10**27}, {"memory": -1}, {"numa_node": 10**27}])
def test_a_device_of_a_size_that_cannot_be_stored_is_refused(odd: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(odd))):
        Device(id="GPU-1", slot="cuda.shares", model="A100", **odd)  # type: ignore[arg-type]


def _beat() -> NodeHeartbeat:
    return NodeHeartbeat(
        at=datetime(2026, 1, 1, tzinfo=UTC), node="n", name="n1", scaling_group="default", architecture="x86_64",
        version="1", url="http://127.0.0.1:6001", region="local", slots={}, images=[],
        statistics={"GPU-1": DeviceStatistics(power=7.5), "GPU-2": DeviceStatistics()},
    )  # fmt: skip


def test_what_is_not_known_of_a_device_is_not_sent() -> None:
    sent = _beat().model_dump_json()
    assert json.loads(sent)["statistics"] == {"GPU-1": {"power": 7.5}, "GPU-2": {}}
    assert EVENT.validate_json(sent) == _beat()
    assert DeviceStatistics(memory_used=7, power=7.0).model_dump_json() == '{"memory_used":7,"power":7.0}'


@pytest.mark.parametrize(
    "odd",
    [
        {"memory_used": 10**27, "utilization": 1e300},
        {"memory_used": -1, "utilization": -0.5, "temperature": -300},
        {"memory_used": 0.5, "utilization": "much", "temperature": [7]},
        {"memory_used": None, "utilization": None},
    ],
)
def test_a_reading_that_cannot_be_is_not_known_and_costs_no_heartbeat(odd: dict[str, object]) -> None:
    said = json.loads(_beat().model_dump_json())
    said["statistics"]["GPU-1"] |= odd
    assert EVENT.validate_json(json.dumps(said)) == _beat()
    said["statistics"]["GPU-1"] |= {"power": 10**400}
    assert EVENT.validate_json(json.dumps(said)).statistics["GPU-1"] == DeviceStatistics()  # type: ignore[union-attr]


def test_readings_at_rest_and_at_work_are_known() -> None:
    for now in ((0.0, 0, 0.0, -20.0), (100.0, 80 * 1024**3, 700.0, 110.0)):
        told = DeviceStatistics(utilization=now[0], memory_used=now[1], power=now[2], temperature=now[3])
        assert (told.utilization, told.memory_used, told.power, told.temperature) == now
