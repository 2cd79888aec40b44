"""A kernel of several begins when the manager says that all are up, and not before."""

import asyncio

import pytest

from caravan_common.wire.agent import Endpoint, Release

pytestmark = pytest.mark.stack

IMAGES = ["caravan-test/dash:2", "caravan-test/bash:2", "caravan-test/busybox:3"]
LONGER_THAN_A_START = 1.0


async def _released(node, kernel) -> None:
    assert await node.call("POST", f"/kernels/{kernel}/release") == (204, "")


async def _ended(node, spec, container):
    await node.engine.call("POST", f"/containers/{container}/wait")
    return (await node.until(spec.kernel, "kernel_started", "kernel_terminated"))[1]


async def test_neither_script_begins_before_the_release(node) -> None:
    async def live(image: str) -> None:
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

    await asyncio.gather(*map(live, IMAGES))


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


@pytest.mark.parametrize("image", IMAGES)
async def test_a_kernel_finds_what_it_is_told_with_the_release_and_keeps_it(node, image) -> None:
    spec = node.spec(
        image=image,
        environ={"MASTER_PORT": "29500", "KEPT": "yes"},
        startup_command="echo $KEPT $MASTER_ADDR:$MASTER_PORT; cat /home/config/ssh/port-mapping.json",
        barrier_seconds=60,
    )
    await node.prepare(spec)
    container = await node.run(spec)
    for port in ("20001", "20002"):  # the second comes too late
        environ = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": port}
        told = Release(environ=environ, ssh={"main1": Endpoint(host="10.0.0.1", port=20003)})
        body = told.model_dump_json()
        assert await node.call("POST", f"/kernels/{spec.kernel}/release", body) == (204, "")
    assert (await _ended(node, spec, container)).exit_code == 0
    assert await node.log(spec.kernel) == 'yes 10.0.0.1:20001\n{"main1": ["10.0.0.1", 20003]}'


async def test_a_release_that_no_process_could_be_given_is_refused(node) -> None:
    spec = node.spec(startup_command="echo main", barrier_seconds=60)
    await node.prepare(spec)
    told = Release(environ={"../released": "x"})
    status, _ = await node.call("POST", f"/kernels/{spec.kernel}/release", told.model_dump_json())
    assert status == 400


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
    await node.until_gone(spec)
