"""The agent is killed at each of its failpoints: the kernel's life is told whole, and nothing is left of it."""

import asyncio
import importlib
import os
import pkgutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from tests.integration.agent_driver.test_process import PROGRAM, _toml

import caravan_agent_driver
from caravan_common.failpoints import VARIABLE, Folder, failpoint_names
from caravan_common.wire.agent import KernelSpec

pytestmark = pytest.mark.stack

for module in pkgutil.walk_packages(caravan_agent_driver.__path__, "caravan_agent_driver."):
    importlib.import_module(module.name)

NAMES = [name for name in failpoint_names() if name.startswith("agent.")]
ALWAYS = {"agent.prepare.mount.after", "agent.watcher.moved-write.before"}
"""One before the container runs and one after it are in every run; all of them in the long one."""
START_SECONDS = 90.0
"""How long an agent may take to be there again, on a machine that does much else."""
STILL_RUNS = "agent.cleanup.docker-kill."
"""Passed when the manager has a kernel removed that still runs."""


@asynccontextmanager
async def _immortal(node, folder: Folder, file: Path, api: int) -> AsyncIterator[None]:
    """Keep an agent's process running, however often it dies."""
    node.url = f"http://127.0.0.1:{api}"

    async def keep() -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, "serve", "--config", str(file),
                env=os.environ | {VARIABLE: str(folder.path)}, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _insist(node, method: str, path: str, body: str | None = None) -> None:
    """Call the agent as the manager does: again after no answer, until it takes the call."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(aiohttp.ClientError):
                status, said = await node.call(method, path, body)
                if status < 300:
                    return
                assert status == 503, said
            await asyncio.sleep(0.05)


async def _live(node, spec: KernelSpec, *, removed_while_it_runs: bool) -> None:
    await _insist(node, "PUT", f"/kernels/{spec.kernel}?wait=30", spec.model_dump_json())
    container = await node.run(spec)
    await _insist(node, "POST", f"/kernels/{spec.kernel}/release")
    if removed_while_it_runs:
        await node.until(spec.kernel, "kernel_started", seconds=START_SECONDS)
        await _insist(node, "DELETE", f"/kernels/{spec.kernel}")
    else:
        await node.engine.call("POST", f"/containers/{container}/wait")
        assert await node.clean(spec.kernel) == (0, "")


async def _told_and_clean(node, spec: KernelSpec) -> list[str]:
    """Wait until the kernel's life is told and nothing is left; returns the kinds of events, each once."""
    kinds: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while "kernel_cleaned" not in kinds or await node.left_of(spec):
                await asyncio.sleep(0.05)
                kinds = list(dict.fromkeys(event.type for event in await node.events(spec.kernel)))
    return kinds


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
async def test_the_agent_dies_at(name: str, node, tmp_path: Path, unused_tcp_port_factory) -> None:
    await node.stop()
    folder = Folder(tmp_path / "failpoints")
    folder.path.mkdir()
    api, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    file = tmp_path / "agent.toml"
    file.write_text(_toml(node.config, api, metrics))
    mount, data = node.folder("data")
    (data / "a").write_text("stays")
    still_runs = name.startswith(STILL_RUNS)
    command = None if still_runs else "cat data/a; exit 3"
    spec = node.spec(mounts=[mount], startup_command=command, barrier_seconds=120)
    folder.arm(name)
    async with _immortal(node, folder, file, api):
        await _live(node, spec, removed_while_it_runs=still_runs)
        kinds = await _told_and_clean(node, spec)

    assert not folder.armed, "nobody passed it"
    assert kinds == ["kernel_started", "kernel_terminated", "kernel_cleaned"]
    assert await node.left_of(spec) == []
    assert (data / "a").read_text() == "stays"
    ended = next(event for event in await node.events(spec.kernel) if event.type == "kernel_terminated")
    assert still_runs or ended.exit_code == 3, ended
