"""A kernel's life on a node: prepared, run, watched, cleaned, with the agent restarted at any point."""

import asyncio
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack


async def test_a_batch_kernel_is_prepared_runs_tells_logs_and_leaves_nothing(node) -> None:
    mount, folder = node.folder("data")
    (folder / "input.csv").write_text("1,2,3\n")
    command = "cat data/input.csv; echo result > data/result.json; exit 3"
    spec = node.spec(startup_command=command, mounts=[mount])

    await node.prepare(spec)
    container = await node.run(spec)
    started, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    await node.remove(container)
    assert await node.hook("cleanup", spec.kernel) == (0, "")
    await node.until(spec.kernel, "kernel_started", "kernel_terminated", "kernel_cleaned")

    assert started.container == container
    assert (terminated.exit_code, terminated.reason) == (3, "exited with 3")
    assert await node.log(spec.kernel) == "1,2,3\n"
    assert (folder / "result.json").read_text() == "result\n"
    assert (folder / "input.csv").exists()
    await asyncio.sleep(0.05)
    assert await node.left_of(spec) == []
