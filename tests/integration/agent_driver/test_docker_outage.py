"""Docker goes away from under the agent and comes back: what happened meanwhile is told, and health says so."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may block, and it looks again and again

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from caravan_common.errors import UnavailableError
from caravan_manager.nodes.agents import HttpAgents, SpecRefusedError

pytestmark = pytest.mark.stack


class Relay:
    """A socket in front of Docker's that can be cut."""

    def __init__(self, path: Path, docker: Path) -> None:
        self.path = path
        self._docker = docker
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._relay, self.path)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._docker)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)


@pytest.fixture
async def relay(node, tmp_path: Path) -> AsyncIterator[Relay]:
    relay = Relay(tmp_path / "docker.sock", node.config.docker_socket)
    await relay.open()
    await node.stop()
    node.config = node.config.model_copy(update={"docker_socket": relay.path})
    await node.start()
    yield relay
    await node.stop()
    await relay.cut()


async def _until_health(node, status: int) -> None:
    async with asyncio.timeout(10):
        while (await node.call("GET", "/health"))[0] != status:
            await asyncio.sleep(0.05)


async def test_what_happened_while_docker_was_out_of_reach_is_told_when_it_is_back(node, relay) -> None:
    spec = node.spec(startup_command="echo hello; exit 8")
    await node.prepare(spec)
    await relay.cut()
    await _until_health(node, 503)
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")

    await relay.open()
    await _until_health(node, 200)

    _, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert terminated.exit_code == 8
    assert await node.log(spec.kernel) == "hello\n"


async def test_a_log_is_followed_again_after_docker_was_out_of_reach(node, relay) -> None:
    spec = node.spec(startup_command="echo one; sleep 2; echo two")
    await node.prepare(spec)
    await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await relay.cut()
    await relay.open()

    await node.until(spec.kernel, "kernel_started", "kernel_terminated")

    async with asyncio.timeout(20):
        while await node.log(spec.kernel) != "one\ntwo\n":
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _managers_side(node) -> AsyncIterator[HttpAgents]:
    async with aiohttp.ClientSession() as client:
        yield HttpAgents(client, node.config.api.token.get_secret_value())


@asynccontextmanager
async def _nothing_there(path: Path) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _failing(path: Path) -> AsyncIterator[None]:
    """A dockerd that answers each call with 500."""

    async def fail(_: web.Request) -> web.Response:
        return web.json_response({"message": "containerd is not there: it does not answer"}, status=500)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fail)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("outage", [_nothing_there, _failing])
async def test_a_preparation_waits_for_docker_and_is_done_when_the_manager_asks_again(node, relay, outage) -> None:
    spec = node.spec()
    async with _managers_side(node) as agents:
        await relay.cut()
        async with outage(relay.path):
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(UnavailableError, match="does not answer"):
                    await agents.prepare(node.url, spec)
                assert time.monotonic() - began < 5, "the scheduler's pass waits for it"
            (held,) = (await agents.kernels(node.url)).kernels
            assert (held.kernel, held.state) == (spec.kernel, "preparing")

        await relay.open()
        await agents.prepare(node.url, spec)

    await node.run(spec)
    await node.until(spec.kernel, "kernel_started")


async def test_a_folder_that_is_missing_is_refused_whatever_docker_does(node, relay) -> None:
    mount, folder = node.folder("data")
    folder.rmdir()
    await relay.cut()

    async with _managers_side(node) as agents:
        with pytest.raises(SpecRefusedError, match="cannot mount the folder data"):
            await agents.prepare(node.url, node.spec(mounts=[mount]))


async def test_a_preparation_that_waited_for_docker_is_forgotten_with_its_session(node, relay) -> None:
    mount, folder = node.folder("data")
    spec = node.spec(mounts=[mount])
    async with _managers_side(node) as agents:
        await relay.cut()
        with pytest.raises(UnavailableError):
            await agents.prepare(node.url, spec)
        await relay.open()
        await agents.forget(node.url, spec.kernel)

    terminated, _ = await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    assert "does not answer" in terminated.reason
    await node.until_gone(spec)
    assert folder.is_dir()
