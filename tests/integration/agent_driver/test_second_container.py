"""A session is restarted: a kernel's second container, its folders, and the log that goes through both."""

from caravan_common.wire.agent import KernelSpec


async def ends(node, container: str) -> None:
    """End a container and take it away, as Nomad does when it restarts a task."""
    await node.engine.call("POST", f"/containers/{container}/stop", {"t": "5"})
    await node.remove(container)


def command(mount: str) -> str:
    return (
        f"echo run >> {mount}/runs; n=$(cat {mount}/runs | grep -c run); echo $n >> /home/work/scratch; "
        "touch /only-here 2>/dev/null; echo run $n scratch $(cat /home/work/scratch | grep -c .); sleep 600 & wait"
    )


async def restarted(node, spec: KernelSpec, first: str) -> str:
    await ends(node, first)
    second = await node.run(spec)
    await node.until(spec.kernel, "kernel_started", "kernel_terminated", "kernel_started")
    return second


async def test_a_second_container_finds_the_folders_as_the_first_left_them(node) -> None:
    mount, folder = node.folder("data")
    spec = node.spec(startup_command=command("/home/work/data"), mounts=[mount])
    await node.prepare(spec)
    first = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.until_logged(spec, "run 1 scratch 1\n")

    second = await restarted(node, spec, first)
    await node.until_logged(spec, "run 1 scratch 1\nrun 2 scratch 2\n")

    started, ended, again = await node.events(spec.kernel)
    assert (started.container, ended.container, again.container) == (first, first, second)
    assert (folder / "runs").read_text() == "run\nrun\n"
    await ends(node, second)
    await node.clean(spec.kernel)
    types = [event.type for event in await node.events(spec.kernel)]
    assert types[3:] == ["kernel_terminated", "kernel_cleaned"]
    await node.until_gone(spec)
    assert (folder / "runs").read_text() == "run\nrun\n"
    assert await node.log(spec.kernel) == "run 1 scratch 1\nrun 2 scratch 2\n"


async def test_an_agent_that_was_away_during_the_restart_finds_the_second_container(node) -> None:
    spec = node.spec(startup_command=command("/home/work"))
    await node.prepare(spec)
    first = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.until_logged(spec, "run 1 scratch 1\n")
    await node.stop()
    await ends(node, first)
    second = await node.run(spec)
    await node.start()

    events = await node.until(spec.kernel, "kernel_started", "kernel_started")
    assert [event.container for event in events] == [first, second]
    await node.until_logged(spec, "run 1 scratch 1\nrun 2 scratch 2\n")
    await ends(node, second)
    *_, ended = await node.until(spec.kernel, "kernel_started", "kernel_started", "kernel_terminated")
    assert ended.container == second
    await node.clean(spec.kernel)
    await node.until_gone(spec)
