"""The device plugin answers Nomad's calls over a real socket."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc import StatusCode, aio

from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.plugin import nomad_pb2 as nomad
from caravan_agent_driver.plugin.cli import COOKIE
from caravan_agent_driver.plugin.services import DevicePlugin, handlers

DEVICES = "hashicorp.nomad.plugins.device.DevicePlugin"
BASE = "hashicorp.nomad.plugins.base.proto.BasePlugin"
FILE = """\
[kinds.fake]
ill = [{ill}]
[[kinds.fake.devices]]
slot = "cuda.shares"
model = "Fake-H100"
count = 2
shares = 5
memory = "80g"
"""


class Nomad:
    """What Nomad does with a plugin."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    async def ask(self, service: str, method: str, request: Message, answer: type[Any]) -> Any:
        call = self._channel.unary_unary(f"/{service}/{method}", _bytes, answer.FromString)
        return await call(request)

    def stream(self, method: str, request: Message, answer: type[Any]) -> Any:
        return aiter(self._channel.unary_stream(f"/{DEVICES}/{method}", _bytes, answer.FromString)(request))

    async def configure(self, file: Path) -> None:
        content = cast(bytes, msgpack.packb({"devices": str(file)}))
        await self.ask(BASE, "SetConfig", nomad.SetConfigRequest(msgpack_config=content), nomad.Empty)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(FILE.format(ill=""))
    return path


@pytest.fixture
def stop() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def plugin(tmp_path: Path, stop: asyncio.Event, file: Path) -> AsyncIterator[Nomad]:
    server = aio.server()
    server.add_generic_rpc_handlers(handlers(DevicePlugin(Inventory(None), stop, 0.05)))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        nomad_side = Nomad(channel)
        await nomad_side.configure(file)
        yield nomad_side
    await server.stop(0)


async def test_it_says_that_it_is_a_device_plugin_with_one_key(plugin: Nomad) -> None:
    info = await plugin.ask(BASE, "PluginInfo", nomad.Empty(), nomad.PluginInfoResponse)
    schema = await plugin.ask(BASE, "ConfigSchema", nomad.Empty(), nomad.ConfigSchemaResponse)

    assert (info.type, info.name, info.plugin_api_versions) == (3, "caravan-device-plugin", ["v0.1.0"])
    assert [attribute.attr.name for attribute in schema.spec.table.attributes.values()] == ["devices"]


async def test_each_physical_device_is_a_group_with_its_parts(plugin: Nomad) -> None:
    first, second = (await anext(plugin.stream("Fingerprint", nomad.Empty(), nomad.FingerprintResponse))).device_group

    assert (first.vendor, first.device_type, first.device_name) == ("caravan", "cuda", "fake-cuda-0")
    assert [part.ID for part in second.devices] == [f"fake-cuda-1::{part}" for part in range(5)]
    assert (first.attributes["memory"].int_val, first.attributes["memory"].unit) == (81920, "MiB")
    assert first.attributes["slot"].string_val == "cuda.shares"


async def test_a_device_that_falls_ill_is_told_at_once_and_nothing_before(plugin: Nomad, file: Path) -> None:
    stream = plugin.stream("Fingerprint", nomad.Empty(), nomad.FingerprintResponse)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    file.write_text(FILE.format(ill='"fake-cuda-1"'))  # noqa: ASYNC240 - a test may block

    first, second = (await waiting).device_group
    assert {part.healthy for part in first.devices} == {True}
    assert {(part.healthy, part.health_description) for part in second.devices} == {(False, "the device file says so")}


async def test_reserving_again_is_the_same_and_each_device_has_a_variable_of_its_own(plugin: Nomad) -> None:
    await anext(plugin.stream("Fingerprint", nomad.Empty(), nomad.FingerprintResponse))
    request = nomad.ReserveRequest(device_ids=["fake-cuda-1::2", "fake-cuda-1::0"])
    once = await plugin.ask(DEVICES, "Reserve", request, nomad.ReserveResponse)
    again = await plugin.ask(DEVICES, "Reserve", request, nomad.ReserveResponse)

    assert once == again
    assert dict(once.container_res.envs) == {"CARAVAN_DEVICE_FAKE_CUDA_1": "cuda.shares:2/5"}
    assert [(f.host_path, f.task_path) for f in once.container_res.devices] == [("/dev/null", "/dev/fake-cuda-1")]


async def test_a_plugin_that_was_just_started_can_reserve(plugin: Nomad) -> None:
    request = nomad.ReserveRequest(device_ids=["fake-cuda-0::0"])

    assert (await plugin.ask(DEVICES, "Reserve", request, nomad.ReserveResponse)).container_res.envs


@pytest.mark.parametrize("parts", [["fake-cuda-7::0"], ["fake-cuda-0::0", "fake-cuda-1::0"], ["fake-cuda-0"], []])
async def test_parts_that_are_of_no_one_device_are_refused(plugin: Nomad, parts: list[str]) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await plugin.ask(DEVICES, "Reserve", nomad.ReserveRequest(device_ids=parts), nomad.ReserveResponse)
    assert refused.value.code() is StatusCode.NOT_FOUND


async def test_every_part_shows_how_its_device_does(plugin: Nomad) -> None:
    await anext(plugin.stream("Fingerprint", nomad.Empty(), nomad.FingerprintResponse))
    request = nomad.StatsRequest(collection_interval=Duration(seconds=1))
    stats = await anext(plugin.stream("Stats", request, nomad.StatsResponse))

    assert set(stats.groups[1].instance_stats) == {f"fake-cuda-1::{number}" for number in range(5)}
    of_one = stats.groups[0].instance_stats["fake-cuda-0::1"]
    assert (of_one.summary.int_denominator_val.value, of_one.summary.unit) == (81920, "MiB")
    assert of_one.timestamp.seconds > 0
    assert of_one.stats.attributes["Temperature"].float_numerator_val.value == 30.0


async def test_it_is_healthy_and_stops_when_it_is_asked_to(plugin: Nomad, stop: asyncio.Event) -> None:
    request = nomad.HealthCheckRequest(service="plugin")
    answer = await plugin.ask("grpc.health.v1.Health", "Check", request, nomad.HealthCheckResponse)
    assert answer.status == 1
    await plugin.ask("plugin.GRPCController", "Shutdown", nomad.Empty(), nomad.Empty)
    assert stop.is_set()


# --- the program ----------------------------------------------------------------------------------------------------

PROGRAM = Path(sys.executable).parent / "caravan-device-plugin"


def test_a_person_who_starts_the_program_is_told_what_it_is() -> None:
    ran = subprocess.run([PROGRAM], env={}, capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Nomad starts it" in ran.stderr


def test_the_program_says_where_it_listens_and_leaves_nothing_behind() -> None:
    program = subprocess.Popen(
        [PROGRAM], env=dict([COOKIE]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert program.stdout is not None
    with program.stdout as output:
        handshake = output.readline()
    core, version, network, socket, protocol, _ = handshake.split("|")
    assert (core, version, network, protocol) == ("1", "2", "unix", "grpc")
    assert Path(socket).is_socket()
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait(10) == 0
    assert not Path(socket).parent.exists()
