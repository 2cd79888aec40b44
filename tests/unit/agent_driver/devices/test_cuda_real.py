"""NVIDIA's GPUs through the real library, where there are any: what is taken from the made-up one holds there.

Nothing is changed on the GPUs: they are listed, looked at, and their critical errors are listened for.
"""

import re

import pynvml
import pytest

from caravan_agent_driver.devices.cuda import CudaDevices
from caravan_agent_driver.devices.nvml import Nvml, load_nvml

UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]+")


@pytest.fixture(scope="module")
def nvml() -> Nvml:
    """Give NVIDIA's library, with at least one GPU below it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as err:
        pytest.skip(f"no driver of NVIDIA's is here: {err}")
    if not pynvml.nvmlDeviceGetCount():
        pytest.skip("the driver of NVIDIA's has no GPU here")
    loaded = load_nvml()
    assert loaded is not None
    return loaded


@pytest.fixture
def kind(nvml: Nvml) -> CudaDevices:
    return CudaDevices({}, lambda: nvml)


def test_gpus_are_listed_with_what_they_are(kind: CudaDevices) -> None:
    devices = kind.list_devices()

    assert devices
    assert len({device.id for device in devices}) == len(devices)
    for device in devices:
        assert UUID.fullmatch(device.id)
        assert device.slot == "cuda.shares" or re.fullmatch(r"cuda\.device:[^:]+-mig", device.slot)
        assert device.model
        assert device.memory > 1024**3
        assert device.healthy or device.problem
    assert kind.list_devices() == devices


def test_statistics_are_plausible(kind: CudaDevices) -> None:
    devices = kind.list_devices()
    known = kind.statistics()

    assert set(known) == {device.id for device in devices}
    for device in devices:
        now = known[device.id]
        assert now.memory_used is not None
        assert 0 <= now.memory_used <= device.memory
        if not device.slot.endswith("-mig"):
            assert now.utilization is not None
            assert 0 <= now.utilization <= 100
        assert now.power is None or 0 < now.power < 2000
        assert now.temperature is None or 0 < now.temperature < 120


def test_critical_errors_are_listened_for(kind: CudaDevices, nvml: Nvml) -> None:
    """As the kind itself does: where a GPU supports it, registering works, and an event set that is asked answers."""
    kind.list_devices()
    supported = [
        bool(
            pynvml.nvmlDeviceGetSupportedEventTypes(pynvml.nvmlDeviceGetHandleByIndex(index))
            & nvml.nvmlEventTypeXidCriticalError
        )
        for index in range(pynvml.nvmlDeviceGetCount())
    ]
    if not any(supported):
        pytest.skip("no GPU here tells of critical errors")
    assert list(kind._watched.values()).count("watched") >= sum(supported)
    kind.list_devices()  # reads the events: none, or real ones


def test_a_container_gets_the_device_files_and_the_drivers_library(kind: CudaDevices) -> None:
    for device in kind.list_devices():
        access = kind.access(device)
        files = {str(file.container) for file in access.files}
        assert "/dev/nvidiactl" in files
        assert any(re.fullmatch(r"/dev/nvidia\d+", name) for name in files)
        assert "libcuda.so.1" in {path.container.name for path in access.paths}
