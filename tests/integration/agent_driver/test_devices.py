"""Accelerators as the agent sees them: told in heartbeats, and in the files of the kernels that have a part of one."""

# ruff: noqa: ASYNC240 - a test may block, and it looks again and again

import asyncio
from pathlib import Path

import pytest

from caravan_agent_driver.config import LimitsSection
from caravan_common.wire.events import NodeHeartbeat

pytestmark = pytest.mark.stack

FILE = """\
enabled = ["fake"]
[kinds.fake]
ill = [{ill}]
[[kinds.fake.devices]]
slot = "cuda.shares"
model = "Fake-H100"
count = 2
shares = 10
memory = "80g"
"""


@pytest.fixture
async def file(node, tmp_path: Path) -> Path:
    """Give the node two fake GPUs, and the file that they are in."""
    path = tmp_path / "devices.toml"
    path.write_text(FILE.format(ill=""))
    node.config = node.config.model_copy(update={"devices": path, "limits": LimitsSection(heartbeat_seconds=0.1)})
    await node.restart()
    return path


async def _until_told(node, slots: str) -> NodeHeartbeat:
    """Return the first heartbeat from now on with this much of ``cuda.shares``."""
    async with asyncio.timeout(10):
        while True:
            beats = [event for _, event in await node.told() if isinstance(event, NodeHeartbeat)]
            if beats and beats[-1].slots.get("cuda.shares") == slots:
                return beats[-1]
            await asyncio.sleep(0.05)


async def test_heartbeats_say_which_devices_are_there_and_which_are_well(node, file: Path) -> None:
    beat = await _until_told(node, "2")
    assert [(d.id, d.shares, d.healthy) for d in beat.devices] == [("fake-cuda-0", 10, True), ("fake-cuda-1", 10, True)]
    assert beat.slots["cpu"] == "2"
    assert {name: told.power for name, told in beat.statistics.items()} == {"fake-cuda-0": 10.0, "fake-cuda-1": 10.0}

    file.write_text(FILE.format(ill='"fake-cuda-0"'))
    beat = await _until_told(node, "1")
    assert [(d.id, d.problem) for d in beat.devices if not d.healthy] == [("fake-cuda-0", "the device file says so")]

    file.write_text(FILE.format(ill=""))
    assert all(d.healthy for d in (await _until_told(node, "2")).devices)


async def test_a_kernel_sees_which_devices_it_has(node, file: Path) -> None:
    shares = [
        {"id": "fake-cuda-0", "slot": "cuda.shares", "amount": "0.3"},
        {"id": "fake-cuda-1", "slot": "cuda.shares", "amount": "1"},
    ]
    command = "env; cat /home/config/resource.txt"
    spec = node.spec(startup_command=command, devices=shares, slots={"cpu": "1", "cuda.shares": "1.3"})
    await node.prepare(spec)
    await node.run(spec)
    await node.until(spec.kernel, "kernel_started", "kernel_terminated")

    said = (await node.log(spec.kernel)).splitlines()
    assert "CUDA_VISIBLE_DEVICES=fake-cuda-0,fake-cuda-1" in said
    assert "GPU_CONFIG=0:24g,1:80g" in said
    assert "CUDA_SHARES=fake-cuda-0:0.3,fake-cuda-1:1" in said


@pytest.mark.parametrize(
    ("device", "why"), [("fake-cuda-7", "this node has no device fake-cuda-7"), ("fake-cuda-1", "fake-cuda-1 is ill")]
)
async def test_a_device_that_is_away_or_ill_is_an_outage_and_the_kernel_is_prepared_when_it_is_well(
    node, file: Path, device: str, why: str
) -> None:
    file.write_text(FILE.format(ill='"fake-cuda-1"'))
    await _until_told(node, "1")
    spec = node.spec(devices=[{"id": device, "slot": "cuda.shares", "amount": "0.5"}])

    status, text = await node.announce(spec, wait="30")

    assert status == 503
    assert why in text
    file.write_text(FILE.format(ill="").replace("count = 2", "count = 8"))
    await _until_told(node, "8")
    assert (await node.announce(spec, wait="30"))[0] == 204


async def test_a_kernel_is_refused_what_no_device_can_give(node, file: Path) -> None:
    await _until_told(node, "2")
    spec = node.spec(devices=[{"id": "fake-cuda-1", "slot": "cuda.shares", "amount": "0.25"}])

    status, text = await node.announce(spec, wait="30")

    assert status == 409
    assert "it has 10 parts" in text
