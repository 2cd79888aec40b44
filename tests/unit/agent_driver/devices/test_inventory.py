"""A node's devices are what its file and its drivers say; what fails makes only its own devices ill."""

# ruff: noqa: ASYNC240 - a test may block

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from caravan_agent_driver.devices import inventory
from caravan_agent_driver.devices.config import load_devices
from caravan_agent_driver.devices.fake import FakeDevices
from caravan_agent_driver.devices.inventory import Inventory, Source
from caravan_agent_driver.devices.kind import Statistics
from caravan_agent_driver.node import slots_of
from caravan_common.errors import ConfigurationError
from caravan_common.wire.devices import Device

FILE = """\
enabled = ["fake"]
[kinds.fake]
ill = [{ill}]
[[kinds.fake.devices]]
slot = "cuda.shares"
count = 2
shares = 10
memory = "80g"
numa_nodes = 2
[[kinds.fake.devices]]
slot = "atom.device"
model = "ATOM"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(FILE.format(ill=""))
    return path


async def test_the_file_says_which_devices_there_are(file: Path) -> None:
    node = Inventory(file)
    await node.refresh()

    assert [device.id for device in node.devices] == ["fake-cuda-0", "fake-cuda-1", "fake-atom-0"]
    assert node.devices[1] == Device(
        id="fake-cuda-1", slot="cuda.shares", model="Fake", shares=10, memory=80 * 1024**3, numa_node=1
    )


async def test_a_device_falls_ill_and_gets_well_as_the_file_is_edited(file: Path) -> None:
    node = Inventory(file)
    await node.refresh()
    file.write_text(FILE.format(ill='"fake-cuda-1"'))
    await node.refresh()
    assert [(d.id, d.problem) for d in node.devices if not d.healthy] == [("fake-cuda-1", "the device file says so")]
    file.write_text(FILE.format(ill=""))
    await node.refresh()
    assert all(device.healthy for device in node.devices)


async def test_a_file_that_became_wrong_changes_nothing(file: Path) -> None:
    node = Inventory(file)
    await node.refresh()
    before = node.devices
    for wrong in ("[", 'enabled = ["no-such-kind"]', "[[kinds.fake.devices]]\nslot = 'UPPER'"):
        file.write_text(wrong)
        await node.refresh()
        assert node.devices == before


async def test_without_a_file_a_machine_without_accelerators_has_none(tmp_path: Path) -> None:
    node = Inventory(tmp_path / "no-such-file")
    await node.refresh()

    assert [device for device in node.devices if device.id.startswith("fake")] == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('enabled = ["cuda2"]', "no such kind of accelerator is installed: cuda2"),
        ("[kinds.fake]\nsick = []", r"\[kinds.fake\] of the device file: sick"),
        ("[[kinds.fake.devices]]\nslot = 'cuda.shares'\nmemory = 'much'", "'much' is not a size"),
        ("[kinds.cuda]\nshares = 3", r"\[kinds.cuda\] of the device file: shares: .* a part must be an amount"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=why):
        load_devices(path)


class Failing(FakeDevices):
    """Devices whose driver fails, or hangs, when it is told to."""

    def __init__(self) -> None:
        super().__init__({"devices": [{"slot": "cuda.device"}]})
        self.fails = False
        self.hangs = threading.Event()
        self.hangs.set()

    def list_devices(self) -> list[Device]:
        self.hangs.wait()
        if self.fails:
            raise OSError("the GPU has fallen off the bus")
        return list(super().list_devices())


async def test_a_kind_that_fails_has_ill_devices() -> None:
    kind = Failing()
    source = Source("cuda", kind)
    await source.refresh()
    assert source.devices[0].healthy
    kind.fails = True
    await source.refresh()
    assert (source.devices[0].healthy, source.devices[0].problem) == (False, "the GPU has fallen off the bus")
    kind.fails = False
    await source.refresh()
    assert source.devices[0].healthy


async def test_a_driver_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ANSWER_SECONDS", 0.05)
    kind = Failing()
    source = Source("cuda", kind)
    await source.refresh()
    kind.hangs.clear()
    await source.refresh()
    assert source.devices[0].problem == "the driver does not answer"
    assert await source.statistics() == {}
    kind.hangs.set()
    while not source.devices[0].healthy:
        await asyncio.sleep(0.01)
        await source.refresh()


class Odd(FakeDevices):
    """Devices of somebody else's, whose statistics are what they are."""

    told: Any = Statistics(utilization=float("nan"), memory_used=7, power=float("inf"), temperature=30)

    def statistics(self) -> dict[str, Any]:
        return {"odd": self.told}


async def test_statistics_that_cannot_be_sent_are_not_known() -> None:
    kind = Odd({})
    assert await Source("odd", kind).statistics() == {"odd": Statistics(memory_used=7, temperature=30.0)}
    kind.told = Statistics(utilization=1e300, memory_used=10**27, power=10**400, temperature=-5)
    assert await Source("odd", kind).statistics() == {"odd": Statistics(temperature=-5.0)}
    for memory, known in ((float("inf"), None), (float("nan"), None), (10**400, None), (7.5, 8), (7.0, 7)):
        kind.told = Statistics(utilization=-1, memory_used=memory, power=7)  # type: ignore[arg-type]
        assert await Source("odd", kind).statistics() == {"odd": Statistics(memory_used=known, power=7.0)}
    kind.told = {"power": "much"}
    assert await Source("odd", kind).statistics() == {}


def test_a_node_offers_what_is_well() -> None:
    devices = FakeDevices(
        {"devices": [{"slot": "cuda.shares", "count": 3, "shares": 4}, {"slot": "atom.device"}], "ill": ["fake-cuda-1"]}
    ).list_devices()

    assert slots_of({"cpu": "8", "mem": "1g"}, devices) == {
        "cpu": "8",
        "mem": "1073741824",
        "cuda.shares": "2",
        "atom.device": "1",
    }
