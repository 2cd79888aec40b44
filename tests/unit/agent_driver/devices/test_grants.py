"""A kernel's files say which devices it has, and a device that it cannot have is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caravan_agent_driver.devices.grants import DeviceLostError, DeviceRefusedError, Grant, grant, size
from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.kernels.environment import configuration_files
from caravan_agent_driver.outages import may_pass
from caravan_common.wire.agent import KernelSpec
from caravan_common.wire.devices import DeviceShare

FILE = """\
[kinds.fake]
ill = ["fake-cuda-2"]
[[kinds.fake.devices]]
slot = "cuda.shares"
model = "Fake-H100"
count = 3
shares = 10
memory = "80g"
[[kinds.fake.devices]]
slot = "atom-plus.device"
"""


@pytest.fixture
async def node(tmp_path: Path) -> Inventory:
    path = tmp_path / "devices.toml"
    path.write_text(FILE)
    node = Inventory(path)
    await node.refresh()
    return node


def _share(device: str, amount: str, slot: str = "cuda.shares") -> DeviceShare:
    return DeviceShare.model_validate({"id": device, "slot": slot, "amount": amount})


def test_a_kernel_with_parts_of_two_gpus_is_told_of_both(node: Inventory) -> None:
    given = grant(node, [_share("fake-cuda-0", "0.3"), _share("fake-cuda-1", "1")])

    assert given.environ == {
        "GPU_TYPE": "cuda",
        "GPU_MODEL_NAME": "Fake-H100",
        "GPU_COUNT": "2",
        "N_GPUS": "2",
        "GPU_CONFIG": "0:24g,1:80g",
        "TF_GPU_MEMORY_ALLOC": "0:24576,1:81920",
        "CUDA_VISIBLE_DEVICES": "fake-cuda-0,fake-cuda-1",
        "CUDA_MEMORY_LIMITS": "25769803776,85899345920",
    }


def test_a_kernel_without_devices_is_told_that_it_has_none(node: Inventory) -> None:
    assert grant(node, []) == Grant({"GPU_COUNT": "0", "N_GPUS": "0"}, "")


def test_resource_txt_says_how_much_of_which_device(node: Inventory, make_spec: Callable[..., KernelSpec]) -> None:
    spec = make_spec(
        slots={"cpu": "1", "cuda.shares": "0.8", "atom-plus.device": "1"},
        devices=[
            _share("fake-cuda-0", "0.3"),
            _share("fake-cuda-1", "0.5"),
            _share("fake-atom-plus-0", "1", "atom-plus.device"),
        ],
        environ={"GPU_COUNT": "99"},
    )
    files = configuration_files(spec, grant(node, spec.devices), 1000, 1000)

    assert files["resource.txt"].decode().splitlines()[4:] == [
        "CPU_SHARES=cpu:1",
        "CUDA.SHARES_SHARES=fake-cuda-0:0.3,fake-cuda-1:0.5",
        "CUDA_SHARES=fake-cuda-0:0.3,fake-cuda-1:0.5",
        "CUDA_DEVICES=fake-cuda-0,fake-cuda-1",
        "ATOM-PLUS.DEVICE_SHARES=fake-atom-plus-0:1",
        "ATOM_PLUS_DEVICES=fake-atom-plus-0",
    ]
    assert b"GPU_COUNT=2\n" in files["environ.txt"]
    assert b"GPU_COUNT=99" not in files["environ.txt"]


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ([("fake-cuda-0", "0.25")], "it has 10 parts"),
        ([("fake-cuda-2", "0.25")], "it has 10 parts"),
        ([("fake-cuda-9", "0.5"), ("fake-cuda-0", "0.25")], "it has 10 parts"),
        ([("fake-cuda-0", "0.5"), ("fake-cuda-0", "0.5")], "given twice"),
        ([("fake-atom-plus-0", "1")], r"gives atom-plus\.device, and no cuda\.shares"),
    ],
)
def test_what_cannot_be_given_is_refused(node: Inventory, shares: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(DeviceRefusedError, match=why):
        grant(node, [_share(*share) for share in shares])


@pytest.mark.parametrize(
    ("device", "why"),
    [("fake-cuda-9", "no device fake-cuda-9"), ("fake-cuda-2", "fake-cuda-2 is ill: the device file says so")],
)
def test_what_cannot_be_given_now_is_no_refusal(node: Inventory, device: str, why: str) -> None:
    with pytest.raises(DeviceLostError, match=why) as lost:
        grant(node, [_share("fake-cuda-0", "0.5"), _share(device, "0.5")])
    assert may_pass(lost.value)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (24 * 1024**3, "24g"), (1536 * 1024**2, "1536m"), (1000, "1000")]
)
def test_a_size_is_in_its_largest_whole_unit(count: Any, text: str) -> None:
    assert size(count) == text
