"""The agent, Docker's stream and Redis go away and come back: no kernel is lost, nothing is told in disorder."""

# ruff: noqa: ASYNC240 - a test may block, and it looks again and again

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from caravan_agent_driver.kernels.model import Kernel
from caravan_agent_driver.kernels.store import KernelStore
from caravan_common.ids import network_name

pytestmark = pytest.mark.stack

WHOLE_LIFE = ("kernel_started", "kernel_terminated", "kernel_cleaned")


async def test_a_kernel_lives_through_a_restart_of_the_agent_between_any_two_steps(node) -> None:
    mount, folder = node.folder("data")
    (folder / "a").write_text("folder\n")
    spec = node.spec(startup_command="cat data/a; sleep 3; echo end; exit 5", mounts=[mount])

    assert (await node.announce(spec))[0] == 202
    await node.restart()
    await node.until_prepared(spec)
    await node.restart()
    container = await node.create(spec)
    await node.restart()
    await node.engine.call("POST", f"/containers/{container}/start")
    await node.restart()
    await node.until(spec.kernel, "kernel_started")
    await node.restart()
    _, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    await node.restart()
    await node.remove(container)
    await node.restart()
    assert await node.clean(spec.kernel) == (0, "")
    await node.restart()

    await node.until(spec.kernel, *WHOLE_LIFE)
    assert terminated.exit_code == 5
    assert await node.log(spec.kernel) == "folder\nend\n"
    assert (folder / "a").read_text() == "folder\n"
    await node.until_gone(spec)


async def test_an_end_while_the_agent_was_away_is_told_with_its_exit_code(node) -> None:
    spec = node.spec(startup_command="echo hello; sleep 0.5; exit 7")
    await node.prepare(spec)
    container = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.stop()
    await node.engine.call("POST", f"/containers/{container}/wait")

    await node.start()

    _, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert terminated.exit_code == 7
    assert await node.log(spec.kernel) == "hello\n"


async def test_a_whole_life_while_the_agent_was_away_is_told_even_when_the_container_is_gone(node) -> None:
    spec = node.spec(startup_command="exit 9")
    await node.prepare(spec)
    await node.stop()
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")
    await node.remove(container)

    await node.start()

    started, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert started.container == container
    assert terminated.exit_code == 9


async def test_a_hook_waits_while_the_agent_is_restarted(node) -> None:
    spec = node.spec()
    await node.prepare(spec)
    await node.stop()
    waiting = asyncio.create_task(node.clean(spec.kernel))
    await asyncio.sleep(0.5)
    assert not waiting.done()

    await node.start()

    assert await waiting == (0, "")


async def test_mounts_that_a_restart_of_the_machine_undid_are_made_again(node) -> None:
    mount, folder = node.folder("data")
    (folder / "a").write_text("folder\n")
    spec = node.spec(startup_command="cat data/a", mounts=[mount])
    await node.prepare(spec)
    await node.stop()
    target = node.config.state_dir / "scratches" / str(spec.kernel) / "work" / "data"
    process = await asyncio.create_subprocess_exec("umount", str(target))
    await process.wait()

    await node.start()

    await node.until_prepared(spec)
    await node.run(spec)
    await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert await node.log(spec.kernel) == "folder\n"


async def test_what_happened_while_redis_was_away_is_told_later_and_in_order(node) -> None:
    await node.server.stop()
    spec = node.spec(startup_command="exit 4")
    await node.prepare(spec)
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")
    await node.remove(container)
    assert await node.clean(spec.kernel) == (0, "")

    await node.server.start()

    _, terminated, _ = await node.until(spec.kernel, *WHOLE_LIFE, seconds=20)
    assert terminated.exit_code == 4


async def test_what_was_not_told_survives_a_restart_of_the_agent(node) -> None:
    await node.server.stop()
    spec = node.spec(environ={"SECRET": "do-not-keep"})
    await node.prepare(spec)
    assert await node.clean(spec.kernel) == (0, "")
    record = node.config.state_dir / "kernels" / f"{spec.kernel}.json"
    assert "do-not-keep" not in record.read_text()
    await node.stop()

    await node.server.start()
    await node.start()

    await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    await asyncio.sleep(0.1)
    assert not record.exists()


async def test_a_record_that_cannot_be_read_is_set_aside(node) -> None:
    await node.stop()
    record = node.config.state_dir / "kernels" / f"{uuid4()}.json"
    record.write_text("{")

    await node.start()

    assert not record.exists()
    assert record.with_suffix(".unreadable").exists()


async def test_a_record_that_a_death_left_half_written_is_removed(node) -> None:
    spec = node.spec(environ={"SECRET": "do-not-keep"})
    await node.prepare(spec)
    await node.stop()
    record = node.config.state_dir / "kernels" / f"{spec.kernel}.json"
    unfinished = record.with_name(f".{uuid4()}.json.new")
    unfinished.write_text(record.read_text())

    await node.start()

    assert not unfinished.exists()
    assert record.exists()


async def _age(node, spec) -> None:
    """Make a kernel's record a day old, while the agent is stopped."""
    path: Path = node.config.state_dir / "kernels" / f"{spec.kernel}.json"
    record = json.loads(path.read_text())
    record["touched"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path.write_text(json.dumps(record))


async def test_the_sweep_cleans_a_kernel_whose_job_never_came_and_spares_the_others(node) -> None:
    mount, folder = node.folder("data")
    (folder / "a").write_text("stays")
    orphan, runs = node.spec(mounts=[mount]), node.spec()
    await node.prepare(orphan)
    await node.prepare(runs)
    await node.run(runs)
    await node.until(runs.kernel, "kernel_started")
    await node.stop()
    await _age(node, orphan)
    await _age(node, runs)
    foreign = network_name(uuid4())
    labels = {"ai.caravan.cluster": "another", "ai.caravan.session": str(uuid4())}
    made = await node.engine.call("POST", "/networks/create", body={"Name": foreign, "Labels": labels})
    limits = node.config.limits.model_copy(update={"sweep_seconds": 0.2})
    node.config = node.config.model_copy(update={"limits": limits})
    try:
        await node.start()

        terminated, _ = await node.until(orphan.kernel, "kernel_terminated", "kernel_cleaned")
        await asyncio.sleep(0.5)
        names = [row["Name"] for row in await node.engine.call("GET", "/networks")]
    finally:
        await node.engine.call("DELETE", f"/networks/{made['Id']}")
    assert terminated.reason == "no container was started in time"
    await node.until_gone(orphan)
    assert (folder / "a").read_text() == "stays"
    assert foreign in names
    assert [event.type for event in await node.events(runs.kernel)] == ["kernel_started"]


async def test_the_end_of_a_container_that_another_took_the_place_of_is_no_end_of_the_kernel(node) -> None:
    spec = node.spec()
    await node.prepare(spec)
    first = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")

    await node.run(spec)
    await node.until(spec.kernel, "kernel_started", "kernel_started")
    await node.remove(first)
    await asyncio.sleep(0.5)

    assert [event.type for event in await node.events(spec.kernel)] == ["kernel_started", "kernel_started"]


async def test_the_store_reads_back_what_it_wrote(node, tmp_path) -> None:
    store = KernelStore(tmp_path / "records")
    await store.load()
    kernel = Kernel.new(node.spec(environ={"A": "é\n\U0001f600"}), datetime.now(UTC))
    await store.put(kernel)

    again = KernelStore(tmp_path / "records")
    await again.load()

    assert again.find(kernel.kernel) == kernel
