"""A kernel of several begins when the manager says that all are up, and not before."""

import asyncio

import pytest

pytestmark = pytest.mark.stack

IMAGES = ["caravan-test/dash:2", "caravan-test/bash:2", "caravan-test/busybox:3"]
LONGER_THAN_A_START = 1.0


async def _released(node, kernel) -> None:
    assert await node.call("POST", f"/kernels/{kernel}/release") == (204, "")


async def _ended(node, spec, container):
    await node.engine.call("POST", f"/containers/{container}/wait")
    return (await node.until(spec.kernel, "kernel_started", "kernel_terminated"))[1]


@pytest.mark.parametrize("image", IMAGES)
async def test_neither_script_begins_before_the_release(node, image) -> None:
    spec = node.spec(image=image, bootstrap_script="echo boot", startup_command="echo main", barrier_seconds=60)
    await node.prepare(spec)
    container = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await asyncio.sleep(LONGER_THAN_A_START)
    assert await node.log(spec.kernel) == ""

    await _released(node, spec.kernel)
    await _released(node, spec.kernel)
    assert (await _ended(node, spec, container)).exit_code == 0
    assert await node.log(spec.kernel) == "boot\nmain\n"


async def test_two_kernels_find_each_other_by_name_as_soon_as_they_begin(node) -> None:
    first = node.spec(image=IMAGES[2], startup_command="nc -l -p 29500", barrier_seconds=60)
    ask = "until echo hello from sub1 | nc main1 29500; do sleep 0.1; done"
    second = node.spec(
        image=IMAGES[2], session=first.session, cluster_role="sub", cluster_hostname="sub1",
        startup_command=ask, barrier_seconds=60,
    )  # fmt: skip
    for spec in (first, second):
        await node.prepare(spec)
    containers = [await node.run(spec) for spec in (first, second)]
    for spec in (first, second):
        await _released(node, spec.kernel)

    assert (await _ended(node, first, containers[0])).exit_code == 0
    assert await node.log(first.kernel) == "hello from sub1\n"


async def test_a_release_outlives_the_agent_and_a_restart_of_the_session(node) -> None:
    spec = node.spec(startup_command="echo begun", barrier_seconds=60)
    await node.prepare(spec)
    await _released(node, spec.kernel)
    await node.restart()
    container = await node.run(spec)
    assert (await _ended(node, spec, container)).exit_code == 0
    await node.remove(container)

    again = await node.run(spec)
    await node.engine.call("POST", f"/containers/{again}/wait")
    assert "begun\nbegun" in (await node.log(spec.kernel))


async def test_a_kernel_whose_others_never_come_gives_up_and_says_why(node) -> None:
    spec = node.spec(startup_command="echo main", barrier_seconds=1)
    await node.prepare(spec)
    container = await node.run(spec)

    assert (await _ended(node, spec, container)).exit_code == 125
    assert "not all kernels of the session were up within 1 seconds" in await node.log(spec.kernel)


async def test_a_release_of_a_kernel_that_is_over_or_unknown_changes_nothing(node) -> None:
    spec = node.spec(startup_command="echo main", barrier_seconds=60)
    await _released(node, spec.kernel)
    assert await node.left_of(spec) == []
    await node.prepare(spec)
    assert (await node.clean(spec.kernel))[0] == 0
    await _released(node, spec.kernel)
    assert await node.left_of(spec) == []
