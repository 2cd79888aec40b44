"""Every kind that is found in /sys, on made-up trees: found, ill, none, and what a container gets."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from caravan_agent_driver.devices.config import load_devices
from caravan_agent_driver.devices.furiosa import RngdDevices, WarboyDevices
from caravan_agent_driver.devices.gaudi import Gaudi2Devices
from caravan_agent_driver.devices.graphcore import IpuDevices
from caravan_agent_driver.devices.hyperaccel import LpuDevices
from caravan_agent_driver.devices.kind import Given, Statistics
from caravan_agent_driver.devices.rebellions import AtomDevices, AtomMaxDevices, AtomPlusDevices
from caravan_agent_driver.devices.rocm import RocmDevices
from caravan_agent_driver.devices.sysfs import SysfsDevices
from caravan_agent_driver.devices.tpu import TpuDevices
from caravan_common.slots import ResourceSlots

KINDS = [
    RocmDevices,
    WarboyDevices,
    RngdDevices,
    AtomDevices,
    AtomPlusDevices,
    AtomMaxDevices,
    Gaudi2Devices,
    TpuDevices,
    IpuDevices,
    LpuDevices,
]
GIBIBYTE = 1024**3
Machine = Callable[..., dict[str, object]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make files below sys/ and dev/; gives the options that lead there. A value is a file's content."""

    def make(sys: dict[str, str] | None = None, dev: tuple[str, ...] = ()) -> dict[str, object]:
        for name, content in (sys or {}).items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        for name in dev:
            path = tmp_path / "dev" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return {"sys": str(tmp_path / "sys"), "dev": str(tmp_path / "dev")}

    return make


def _files(kind: SysfsDevices, number: int = 0) -> list[str]:
    return [str(file.container) for file in kind.access(kind.list_devices()[number]).files]


def _environ(kind: SysfsDevices) -> dict[str, str]:
    return dict(kind.environment([Given(device, Decimal(1)) for device in kind.list_devices()]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_has_none(kind: type[SysfsDevices], machine: Machine) -> None:
    assert kind(machine()).list_devices() == []
    assert ResourceSlots.parse({kind.slot: 1})


def test_every_kind_is_installed_under_the_name_of_its_slot(tmp_path: Path) -> None:
    installed = load_devices(tmp_path / "no-such-file")

    assert {kind.slot.partition(".")[0] for kind in KINDS} | {"cuda", "fake"} == set(installed)


def test_amd_gpus(machine: Machine) -> None:
    gpu = "class/drm/renderD128/device"
    options = machine(
        {
            f"{gpu}/vendor": "0x1002",
            f"{gpu}/unique_id": "59a1d3f6ab7c0012",
            f"{gpu}/product_name": "AMD Instinct MI300X",
            f"{gpu}/mem_info_vram_total": str(192 * GIBIBYTE),
            f"{gpu}/mem_info_vram_used": "1048576",
            f"{gpu}/gpu_busy_percent": "37",
            f"{gpu}/hwmon/hwmon4/power1_average": "120000000",
            f"{gpu}/hwmon/hwmon4/temp1_input": "45000",
            f"{gpu}/drm/card1/dev": "226:1",
            f"{gpu}/ras/umc_err_count": "ue: 0\nce: 3",
            "class/drm/renderD129/device/vendor": "0x8086",
            "class/drm/card1/dev": "226:1",
        },
        ("kfd", "dri/renderD128", "dri/card1", "dri/renderD129"),
    )
    kind = RocmDevices(options)
    (device,) = kind.list_devices()

    assert (device.id, device.model) == ("GPU-59a1d3f6ab7c0012", "AMD Instinct MI300X")
    assert (device.slot, device.memory, device.healthy) == ("rocm.device", 192 * GIBIBYTE, True)
    assert _files(kind) == ["/dev/kfd", "/dev/dri/renderD128", "/dev/dri/card1"]
    assert _environ(kind) == {"ROCR_VISIBLE_DEVICES": "GPU-59a1d3f6ab7c0012", "HIP_VISIBLE_DEVICES": "0"}
    assert kind.statistics() == {device.id: Statistics(37.0, 1048576, 120.0, 45.0)}
    machine({f"{gpu}/ras/umc_err_count": "ue: 2\nce: 3"})
    assert kind.list_devices()[0].problem == "2 memory errors that could not be corrected"


def test_furiosa_warboy(machine: Machine) -> None:
    npu = "class/npu_mgmt/npu1_mgmt"
    options = machine(
        {
            f"{npu}/device_uuid": "A76AAD68-6855-40B1-9E86-D080852D1C80",
            f"{npu}/busname": "0000:6a:00.0",
            f"{npu}/alive": "1",
            "class/npu_mgmt/npu1/dev": "240:1",
            "bus/pci/devices/0000:6a:00.0/numa_node": "1",
        },
        ("npu1", "npu1_mgmt", "npu1pe0", "npu1pe1", "npu1pe0-1", "npu1ch0", "npu1ch1", "npu11"),
    )
    kind = WarboyDevices(options)
    (device,) = kind.list_devices()

    assert device.id == "warboy-A76AAD68-6855-40B1-9E86-D080852D1C80"
    assert (device.memory, device.numa_node) == (16 * GIBIBYTE, 1)
    names = ["npu1", "npu1_mgmt", "npu1pe0", "npu1pe0-1", "npu1pe1", "npu1ch0", "npu1ch1"]
    assert _files(kind) == [f"/dev/{name}" for name in names]
    assert _environ(kind) == {"NPU_DEVNAME": "npu1pe0-1"}
    machine({f"{npu}/alive": "0"})
    assert not kind.list_devices()[0].healthy


def test_furiosa_rngd(machine: Machine) -> None:
    npu = "class/rngd_mgmt/rngd!npu{}mgmt"
    sys = {f"{npu.format(n)}/device_uuid": f"0{n}" for n in (0, 1, 10)}
    kind = RngdDevices(machine(sys, ("rngd/npu1mgmt", "rngd/npu1pe0", "rngd/npu1ch0", "rngd/npu10mgmt")))

    assert [device.id for device in kind.list_devices()] == ["rngd-00", "rngd-01", "rngd-010"]
    assert _files(kind, 1) == ["/dev/rngd/npu1ch0", "/dev/rngd/npu1mgmt", "/dev/rngd/npu1pe0"]
    assert _environ(kind) == {"FURIOSA_DEVICES": "npu:0,npu:1,npu:10"}


def test_rebellions_atoms_are_told_apart_by_their_cards(machine: Machine) -> None:
    cards = {0: "RBLN-CA02", 1: "RBLN-CA22", 2: "RBLN-CA25", 3: "RBLN-CA22"}
    sys = {f"class/rebellions/rbln{n}/card_name": card for n, card in cards.items()}
    sys |= {f"class/rebellions/rbln{n}/status": "0" for n in cards} | {"class/rebellions/rsd0/status": "0"}
    for number in cards:
        sys[f"class/rebellions/rbln{number}/device/numa_node"] = "0"
    options = machine(sys, ("rbln0", "rbln1", "rbln2", "rbln3", "rsd0"))

    assert [d.model for d in AtomDevices(options).list_devices()] == ["RBLN-CA02"]
    assert [d.model for d in AtomMaxDevices(options).list_devices()] == ["RBLN-CA25"]


def test_a_faulty_atom_is_ill(machine: Machine, tmp_path: Path) -> None:
    bus = tmp_path / "sys/devices/pci0000:00"
    for number, address in ((1, "0000:1b:00.0"), (3, "0000:1c:00.0")):
        machine({f"class/rebellions/rbln{number}/card_name": "RBLN-CA22", f"class/rebellions/rbln{number}/status": "0"})
        (bus / address).mkdir(parents=True)
        (tmp_path / f"sys/class/rebellions/rbln{number}/device").symlink_to(bus / address)
    kind = AtomPlusDevices(machine({"class/rebellions/rbln3/status": "3"}, ("rbln1", "rbln3", "rsd0")))

    assert [(device.id, device.problem) for device in kind.list_devices()] == [
        ("atom-plus-0000-1b-00.0", ""),
        ("atom-plus-0000-1c-00.0", "the driver says that it is faulty"),
    ]
    assert _files(kind, 1) == ["/dev/rsd0", "/dev/rbln3"]
    assert _environ(kind) == {"RBLN_DEVICES": "0,1"}


def test_a_card_that_vanishes_is_ill(machine: Machine, tmp_path: Path) -> None:
    options = machine({"class/npu_mgmt/npu0_mgmt/device_sn": "S1", "class/npu_mgmt/npu1_mgmt/device_sn": "S2"})
    kind = WarboyDevices(options)
    before = kind.list_devices()
    (tmp_path / "sys/class/npu_mgmt/npu0_mgmt/device_sn").unlink()
    (tmp_path / "sys/class/npu_mgmt/npu0_mgmt").rmdir()

    after = {device.id: device for device in kind.list_devices()}
    assert (after["warboy-S1"].problem, after["warboy-S2"].problem) == ("it is gone", "")
    assert {d.model_copy(update={"healthy": True, "problem": ""}) == d for d in before} == {True}
    assert set(after) == {device.id for device in before}


def test_gaudi2(machine: Machine) -> None:
    card = "class/accel/accel3/device"
    options = machine(
        {
            f"{card}/device_type": "GAUDI2",
            f"{card}/status": "Operational",
            f"{card}/pci_addr": "0000:B3:00.0",
            f"{card}/module_id": "5",
            "class/accel/accel4/device/device_type": "GAUDI3",
        },
        ("accel/accel3", "accel/accel_controlD3", "accel/accel4"),
    )
    kind = Gaudi2Devices(options)
    (device,) = kind.list_devices()

    assert (device.id, device.memory, device.healthy) == ("gaudi2-0000-b3-00.0", 96 * GIBIBYTE, True)
    assert _files(kind) == ["/dev/accel/accel3", "/dev/accel/accel_controlD3"]
    assert _environ(kind) == {"HABANA_VISIBLE_DEVICES": "3", "HABANA_VISIBLE_MODULES": "5"}
    machine({f"{card}/status": "Malfunction"})
    assert kind.list_devices()[0].problem == "the driver says: Malfunction"


def test_tpus_by_accel_files(machine: Machine) -> None:
    sys = {f"bus/pci/devices/0000:00:0{n}.0/vendor": "0x1ae0" for n in (4, 5)}
    sys |= {f"bus/pci/devices/0000:00:0{n}.0/device": "0x005e" for n in (4, 5)}
    sys |= {"bus/pci/devices/0000:00:06.0/vendor": "0x1af4"}
    kind = TpuDevices(machine(sys, ("accel0", "accel1")))
    first, second = kind.list_devices()

    assert (first.id, second.id, first.model) == ("tpu-0000-00-04.0", "tpu-0000-00-05.0", "TPU v4")
    assert _files(kind, 1) == ["/dev/accel1"]
    environ = _environ(kind)
    assert (environ["TPU_VISIBLE_CHIPS"], environ["TPU_CHIPS_PER_PROCESS_BOUNDS"]) == ("0,1", "1,2,1")


def test_tpus_by_vfio(machine: Machine, tmp_path: Path) -> None:
    chip = "bus/pci/devices/0000:00:04.0"
    options = machine({f"{chip}/vendor": "0x1ae0", f"{chip}/device": "0x0063"}, ("vfio/vfio", "vfio/7", "vfio/8"))
    group = tmp_path / "sys/kernel/iommu_groups/7"
    group.mkdir(parents=True)
    (tmp_path / "sys" / chip / "iommu_group").symlink_to(group)

    assert sorted(_files(TpuDevices(options))) == ["/dev/vfio/7", "/dev/vfio/vfio"]


def test_a_tpu_whose_vfio_group_is_missing_is_ill_though_vfio_is_there(machine: Machine, tmp_path: Path) -> None:
    chip = "bus/pci/devices/0000:00:04.0"
    kind = TpuDevices(machine({f"{chip}/vendor": "0x1ae0", f"{chip}/device": "0x0063"}, ("vfio/vfio", "vfio/8")))
    group = tmp_path / "sys/kernel/iommu_groups/7"
    group.mkdir(parents=True)
    (tmp_path / "sys" / chip / "iommu_group").symlink_to(group)

    assert [device.problem for device in kind.list_devices()] == ["it has no device file: its driver is not there"]
    machine(dev=("vfio/7",))
    assert [device.problem for device in kind.list_devices()] == [""]


def test_graphcore_ipus(machine: Machine) -> None:
    kind = IpuDevices(machine({"class/ipu/ipu0/dev": "500:0"}, ("ipu0", "ipu0_ex", "ipu0_mailbox", "ipu01")))

    assert _files(kind) == ["/dev/ipu0", "/dev/ipu0_ex", "/dev/ipu0_mailbox"]
    assert _environ(kind) == {}


def test_lpus_are_what_the_operator_says(machine: Machine) -> None:
    card = "class/xdma/xdma0_user/device"
    options = machine({f"{card}/vendor": "0x10ee", f"{card}/device": "0x903f"}, ("xdma0_user", "xdma0_h2c_0"))

    assert LpuDevices(options).list_devices() == []
    kind = LpuDevices(options | {"pci_ids": ["10ee:903f"]})
    assert _files(kind) == ["/dev/xdma0_h2c_0", "/dev/xdma0_user"]
