"""NVIDIA's GPUs: what is found, what is ill, and what a container gets."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pynvml
import pytest
from pydantic import ValidationError
from tests.unit.agent_driver.devices.fake_nvml import Event, FakeNvml, Gpu, Instance, NVMLError
from tests.unit.common.test_wire_devices import OTHER_FOLDERS

from caravan_agent_driver.devices.config import load_devices
from caravan_agent_driver.devices.cuda import CudaDevices
from caravan_agent_driver.devices.kind import DeviceFile, Given
from caravan_agent_driver.devices.nvml import Nvml
from caravan_common.errors import ConfigurationError
from caravan_common.slots import ResourceSlots

FIRST = "GPU-11111111-1111-1111-1111-111111111111"
SECOND = "GPU-22222222-2222-2222-2222-222222222222"
PART = "MIG-33333333-3333-3333-3333-333333333333"
GIBIBYTE = 1024**3
MPS = {"sharing": "mps", "mps_shm": "/run/nvidia-mps/shm"}


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """Make the device files, libraries and sysfs of a machine with two GPUs; gives the options that lead there."""
    for name in (
        "nvidia0",
        "nvidia1",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-caps/nvidia-cap12",
        "nvidia-caps/nvidia-cap13",
    ):
        path = tmp_path / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libcuda.so.1").touch()
    pci = tmp_path / "sys/bus/pci/devices/0000:3b:00.0"
    pci.mkdir(parents=True)
    (pci / "numa_node").write_text("1\n")
    caps = tmp_path / "proc/driver/nvidia-caps"
    caps.mkdir(parents=True)
    (caps / "mig-minors").write_text("config 1\ngpu1/gi1/access 12\ngpu1/gi1/ci0/access 13\ngpu0/gi1/access 3\n")
    return {name: str(tmp_path / name) for name in ("dev", "proc", "sys")} | {"libraries": [str(tmp_path / "lib")]}


def _devices(nvml: FakeNvml, options: dict[str, Any]) -> CudaDevices:
    return CudaDevices(options, lambda: nvml)


def test_gpus_are_found_with_their_memory_and_numa_node(tree: dict[str, Any]) -> None:
    kind = _devices(FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1, bus="00000000:AF:00.0")]), tree)
    first, second = kind.list_devices()

    assert (first.id, first.slot, first.shares, first.memory) == (FIRST, "cuda.shares", 20, 80 * GIBIBYTE)
    assert (first.numa_node, second.numa_node) == (1, None)
    assert first.healthy


def test_gpus_can_be_given_whole(tree: dict[str, Any]) -> None:
    (device,) = _devices(FakeNvml([Gpu(FIRST, 0)]), tree | {"shares": 1}).list_devices()

    assert (device.slot, device.shares) == ("cuda.device", 1)


def test_a_machine_without_driver_has_none() -> None:
    assert CudaDevices({}, lambda: None).list_devices() == []


def test_in_place_of_a_partitioned_gpu_there_are_its_instances(tree: dict[str, Any]) -> None:
    part = Instance(PART, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1, 0, 10 * GIBIBYTE)
    kind = _devices(FakeNvml([Gpu(SECOND, 1, instances={2: part})]), tree)
    (device,) = kind.list_devices()

    assert (device.id, device.slot, device.shares, device.memory) == (PART, "cuda.device:1g.10gb-mig", 1, 10 * GIBIBYTE)
    assert ResourceSlots.parse({device.slot: 1})
    assert device.kind == "cuda"
    names = [str(file.container) for file in kind.access(device).files]
    assert names == [
        "/dev/nvidia1",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-caps/nvidia-cap12",
        "/dev/nvidia-caps/nvidia-cap13",
    ]
    assert kind.statistics()[PART].utilization is None


def test_a_critical_error_makes_a_gpu_ill_and_a_program_s_fault_does_not(tree: dict[str, Any]) -> None:
    nvml = FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1)])
    kind = _devices(nvml, tree)
    kind.list_devices()
    nvml.events.extend([Event(31, nvml.gpus[0]), Event(79, nvml.gpus[1])])

    assert [device.problem for device in kind.list_devices()] == ["", "critical error (XID 79)"]
    assert [device.healthy for device in kind.list_devices()] == [True, False]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rows": (0, 1, 1, 0)}, "it must be reset: a row of its memory waits to be remapped"),
        ({"rows": (0, 1, 0, 1)}, "its memory is worn out: a row could not be remapped"),
        ({"rows": None, "ecc": 2}, "2 memory errors that could not be corrected"),
        ({"rows": (0, 1, 0, 0), "ecc": 2}, ""),
    ],
)
def test_memory_that_cannot_be_relied_on_makes_a_gpu_ill(tree: dict[str, Any], changes: Any, problem: str) -> None:
    (device,) = _devices(FakeNvml([Gpu(FIRST, 0, **changes)]), tree).list_devices()

    assert (device.problem, device.healthy) == (problem, not problem)


def test_a_gpu_that_fell_off_the_bus_is_ill_and_the_other_is_not(tree: dict[str, Any]) -> None:
    nvml = FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1)])
    kind = _devices(nvml, tree)
    kind.list_devices()
    nvml.gpus[0].lost = True

    assert {device.id: device.problem for device in kind.list_devices()} == {
        SECOND: "",
        FIRST: "it does not answer any more",
    }
    assert FIRST in {device.id for device in kind.list_devices()}


def test_a_gpu_that_was_partitioned_anew_leaves_nothing_ill_behind(tree: dict[str, Any]) -> None:
    nvml = FakeNvml([Gpu(FIRST, 0)])
    kind = _devices(nvml, tree)
    kind.list_devices()
    nvml.gpus[0].instances = {0: Instance(PART, "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 2, 0, 40 * GIBIBYTE)}

    assert [(device.id, device.healthy) for device in kind.list_devices()] == [(PART, True)]


def test_a_container_gets_its_gpu_and_the_driver_s_libraries_at_a_place_of_their_own(tree: dict[str, Any]) -> None:
    kind = _devices(FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1)]), tree)
    first, second = (kind.access(device) for device in kind.list_devices())

    assert first.files[0] == DeviceFile(Path(tree["dev"]) / "nvidia0", Path("/dev/nvidia0"))
    assert [str(path.container) for path in first.paths] == [f"/usr/local/nvidia/{FIRST}/lib64/libcuda.so.1"]
    assert not {path.container for path in first.paths} & {path.container for path in second.paths}


def test_nvidia_s_runtime_is_told_by_a_mount(tree: dict[str, Any]) -> None:
    kind = _devices(FakeNvml([Gpu(FIRST, 0)]), tree | {"runtime": "nvidia"})
    access = kind.access(kind.list_devices()[0])

    assert access.files == ()
    assert [(str(p.host), str(p.container)) for p in access.paths] == [
        ("/dev/null", f"/var/run/nvidia-container-devices/{FIRST}")
    ]


def test_a_kernel_s_shares_are_limited_by_variables(tree: dict[str, Any]) -> None:
    options = tree | MPS | {"limiter": "/opt/limiter.so"}
    kind = _devices(FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1)]), options)
    first, second = kind.list_devices()
    environ = kind.environment([Given(first, Decimal("0.25")), Given(second, Decimal(1))])

    assert environ == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": f"{FIRST},{SECOND}",
        "CARAVAN_LIBRARY_PATH": f"/usr/local/nvidia/{FIRST}/lib64",
        "CUDA_MPS_PIPE_DIRECTORY": f"/usr/local/nvidia/{FIRST}/mps",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=20480M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
        "CUDA_DEVICE_MEMORY_LIMIT_0": "20480m",
        "CUDA_DEVICE_SM_LIMIT": "25",
        "LD_PRELOAD": f"/usr/local/nvidia/{FIRST}/limiter.so",
    }
    places = {str(path.container): path.read_only for path in kind.access(first).paths}
    assert places[f"/usr/local/nvidia/{FIRST}/mps"] is False
    assert places[f"/usr/local/nvidia/{FIRST}/limiter.so"] is True


def test_programs_that_share_by_mps_reach_its_daemon_by_its_pipes_and_its_shared_memory(tree: dict[str, Any]) -> None:
    gpus = FakeNvml([Gpu(FIRST, 0), Gpu(SECOND, 1)])
    options = tree | MPS | {"mps_pipe": "/run/nvidia/mps/pipe"}
    kind = _devices(gpus, options)
    devices = kind.list_devices()

    assert {device.shared_memory for device in devices} == {"/run/nvidia-mps/shm"}
    paths = [path for device in devices for path in kind.access(device).paths]
    places = [str(path.container) for path in paths]
    assert len(places) == len(set(places)), "Docker refuses two mounts at one place"
    assert [path for path in paths if str(path.host) == "/run/nvidia/mps/pipe" and not path.read_only] != []
    given = [Given(device, Decimal("0.5")) for device in devices]
    assert kind.environment(given)["CUDA_MPS_PIPE_DIRECTORY"] in places

    for without in ({"sharing": "time-slicing"}, MPS | {"sharing": "time-slicing"}, MPS | {"shares": 1}):
        assert {d.shared_memory for d in _devices(gpus, tree | without).list_devices()} == {""}


@pytest.mark.parametrize("folder", OTHER_FOLDERS)
def test_no_other_folder_of_the_node_can_be_the_shared_memory_of_mps(tree: dict[str, Any], folder: str) -> None:
    for sharing in ("mps", "time-slicing"):
        with pytest.raises(ValidationError, match=r"mps_shm\n.*must be /run/nvidia-mps/<name>"):
            _devices(FakeNvml([]), tree | {"sharing": sharing, "mps_shm": folder})


def test_who_shares_by_mps_without_a_shared_memory_for_it_is_told_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text('enabled = ["cuda"]\n[kinds.cuda]\nsharing = "mps"\n')
    with pytest.raises(ConfigurationError, match=r"mps_shm: .*needs it: /run/nvidia-mps/<name>.*a tmpfs of its own"):
        load_devices(path)
    path.write_text('enabled = ["cuda"]\n[kinds.cuda]\nsharing = "mps"\nmps_shm = "/run/nvidia-mps/shm"\n')
    assert set(load_devices(path)) == {"cuda"}


def test_whole_gpus_have_no_limits(tree: dict[str, Any]) -> None:
    kind = _devices(FakeNvml([Gpu(FIRST, 0)]), tree | {"limiter": "/opt/limiter.so"})
    environ = kind.environment([Given(kind.list_devices()[0], Decimal(1))])

    assert set(environ) == {"CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "CARAVAN_LIBRARY_PATH"}


def test_a_gpu_s_statistics_are_in_plain_units(tree: dict[str, Any]) -> None:
    kind = _devices(FakeNvml([Gpu(FIRST, 0)]), tree)
    kind.list_devices()
    now = kind.statistics()[FIRST]

    assert (now.utilization, now.memory_used, now.power, now.temperature) == (42.0, 5 * GIBIBYTE, 250.5, 61.0)


def test_the_real_library_has_every_name_that_is_used() -> None:
    names = [name for name in dir(Nvml) if name.lower().startswith("nvml")]
    names += [name for name in Nvml.__annotations__ if name.lower().startswith("nvml")]

    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert [name for name in names if not hasattr(FakeNvml, name)] == []
    assert issubclass(pynvml.NVMLError_NotSupported, pynvml.NVMLError)
    assert NVMLError is FakeNvml.NVMLError
