"""Consul's catalogue, read from a real Consul of the test's own."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import aiohttp
import pytest

from caravan_common.consul.catalog import Catalog, Instance
from caravan_common.errors import UnavailableError
from caravan_deploy.programs.pins import CONSUL
from caravan_deploy.programs.search import find_program

pytestmark = pytest.mark.stack


@pytest.fixture
async def consul(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> AsyncGenerator[str]:
    """The address of a Consul that keeps nothing."""
    program, http = find_program(CONSUL), unused_tcp_port_factory()
    ports = [f"-{name}-port={unused_tcp_port_factory()}" for name in ("server", "serf-lan", "serf-wan", "grpc-tls")]
    process = await asyncio.create_subprocess_exec(
        str(program), "agent", "-dev", "-bind=127.0.0.1", "-node=n1", f"-http-port={http}", "-dns-port=-1",
        "-grpc-port=-1", *ports, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{http}"
    try:
        await _until_it_leads(address)
        yield address
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(tmp_path, ignore_errors=True)


async def _until_it_leads(address: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.get(f"{address}/v1/catalog/node/n1") as answer:
                    if answer.status == 200 and await answer.json():
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def _register(address: str, service: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as client, client.put(f"{address}/v1/agent/service/register", json=service) as a:
        assert a.status == 200


async def test_services_are_found_by_their_tag(consul: str) -> None:
    await _register(consul, {"Name": "caravan-b", "ID": "b1", "Address": "10.0.0.2", "Port": 2, "Tags": ["metrics"]})
    await _register(consul, {"Name": "caravan-a", "ID": "a1", "Port": 1, "Tags": ["x", "metrics"]})
    await _register(consul, {"Name": "caravan-a", "ID": "a2", "Port": 3, "Tags": ["api"]})
    assert await Catalog(consul).tagged("metrics") == [
        Instance("caravan-a", "127.0.0.1:1", "n1", "a1"),
        Instance("caravan-b", "10.0.0.2:2", "n1", "b1"),
    ]
    assert await Catalog(consul).tagged("nothing") == []


async def test_a_consul_that_does_not_answer_is_said(unused_tcp_port: int) -> None:
    with pytest.raises(UnavailableError):
        await Catalog(f"http://127.0.0.1:{unused_tcp_port}").tagged("metrics")
