"""A kernel's life on a node: prepared, run, watched, cleaned."""

# ruff: noqa: ASYNC110 - a test may block, and it looks again and again

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from caravan_agent_driver.kernels.watcher import Watcher
from caravan_common.ids import network_name

pytestmark = pytest.mark.stack

WHOLE_LIFE = ("kernel_started", "kernel_terminated", "kernel_cleaned")


async def test_a_batch_kernel_is_prepared_runs_tells_logs_and_leaves_nothing(node) -> None:
    mount, folder = node.folder("data")
    (folder / "input.csv").write_text("1,2,3\n")
    spec = node.spec(startup_command="cat data/input.csv; echo result > data/result.json; exit 3", mounts=[mount])

    await node.prepare(spec)
    container = await node.run(spec)
    started, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    await node.remove(container)
    assert await node.clean(spec.kernel) == (0, "")
    await node.until(spec.kernel, *WHOLE_LIFE)

    assert started.container == container
    assert (terminated.exit_code, terminated.reason) == (3, "exited with 3")
    assert await node.log(spec.kernel) == "1,2,3\n"
    assert (folder / "result.json").read_text() == "result\n"
    assert (folder / "result.json").stat().st_uid == node.config.uid
    assert (folder / "input.csv").exists()
    await node.until_gone(spec)


async def test_an_interactive_kernel_runs_until_it_is_stopped_and_then_ends_at_once(node) -> None:
    spec = node.spec()
    await node.prepare(spec)
    container = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.until_it_waits(container)

    began = time.monotonic()
    await node.engine.call("POST", f"/containers/{container}/stop", {"t": "10"})

    assert time.monotonic() - began < 8, "it was killed after the ten seconds"
    _, terminated = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert terminated.exit_code == 0


async def test_the_start_is_told_within_a_tenth_of_a_second(node) -> None:
    specs = [node.spec() for _ in range(5)]
    delays: list[float] = []
    for spec in specs:
        await node.prepare(spec)
        container = await node.run(spec)
        await node.until(spec.kernel, "kernel_started")
        state = (await node.engine.call("GET", f"/containers/{container}/json"))["State"]
        real = datetime.fromisoformat(state["StartedAt"][:26] + "+00:00")
        told = next(at for at, event in await node.told() if getattr(event, "kernel", None) == spec.kernel)
        delays.append((told - real).total_seconds())
    print(f"start to stream, median of {len(delays)}: {sorted(delays)[len(delays) // 2] * 1000:.0f} ms")
    assert sorted(delays)[len(delays) // 2] < 0.1


async def test_the_log_is_readable_while_the_kernel_runs(node) -> None:
    spec = node.spec(startup_command="echo first; echo second >&2; sleep 60")
    await node.prepare(spec)
    await node.run(spec)
    await node.until(spec.kernel, "kernel_started")

    async with asyncio.timeout(20):
        while sorted((await node.call("GET", f"/kernels/{spec.kernel}/logs"))[1].split()) != ["first", "second"]:
            await asyncio.sleep(0.05)


async def test_the_log_of_a_kernel_that_ends_at_once_and_is_removed_at_once_is_whole(node) -> None:
    async def live() -> str:
        spec = node.spec(startup_command="echo begin; seq 1 2000; echo end")
        await node.prepare(spec)
        container = await node.run(spec)
        await node.engine.call("POST", f"/containers/{container}/wait")
        await node.remove(container)
        assert await node.clean(spec.kernel) == (0, "")
        return await node.log(spec.kernel)

    for text in await asyncio.gather(*(live() for _ in range(5))):
        assert text.startswith("begin\n1\n")
        assert text.endswith("2000\nend\n")


async def test_the_log_of_a_kernel_whose_start_nobody_saw_is_kept_before_its_container_goes(node, monkeypatch) -> None:
    monkeypatch.setattr(Watcher, "handle", lambda *_: None)
    spec = node.spec(startup_command="echo unseen")
    await node.prepare(spec)
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")

    assert await node.clean(spec.kernel) == (0, "")

    assert await node.log(spec.kernel) == "unseen\n"


async def test_a_kernel_that_never_ran_is_told_as_ended_without_an_exit_code(node) -> None:
    spec = node.spec()
    await node.prepare(spec)

    assert await node.clean(spec.kernel) == (0, "")
    assert await node.clean(spec.kernel) == (0, "")

    terminated, _ = await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    assert (terminated.exit_code, terminated.reason) == (None, "the container was never started")
    await node.until_gone(spec)


async def test_a_running_kernel_that_the_manager_deletes_is_killed_and_cleaned(node) -> None:
    spec = node.spec(startup_command="echo hello; sleep 600")
    await node.prepare(spec)
    await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.until_logged(spec, "hello\n")

    assert (await node.call("DELETE", f"/kernels/{spec.kernel}"))[0] == 204

    _, terminated, _ = await node.until(spec.kernel, *WHOLE_LIFE)
    assert terminated.exit_code == 137
    assert await node.log(spec.kernel) == "hello\n"
    await node.until_gone(spec)


async def test_cleaning_an_unknown_kernel_is_harmless(node) -> None:
    assert (await node.call("DELETE", f"/kernels/{uuid4()}"))[0] == 204
    assert await node.clean(uuid4()) == (0, "")


async def test_an_announcement_that_waits_is_answered_when_the_container_can_be_made(node) -> None:
    mount, _ = node.folder("data")
    spec = node.spec(mounts=[mount])

    assert await node.announce(spec, wait="30") == (204, "")
    assert await node.announce(spec, wait="30") == (204, "")

    container = await node.run(spec)
    await node.until(spec.kernel, "kernel_started")
    await node.engine.call("POST", f"/containers/{container}/kill")
    await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert await node.announce(spec, wait="30") == (204, "")  # a manager that was restarted asks late
    await node.remove(container)
    assert await node.clean(spec.kernel) == (0, "")


async def test_an_announcement_that_waits_says_why_a_kernel_cannot_be_prepared(node) -> None:
    mount, folder = node.folder("data", subpath="link")
    (folder / "link").symlink_to("/etc")
    spec = node.spec(mounts=[mount])

    status, problem = await node.announce(spec, wait="30")

    assert (status, "cannot mount the folder data" in json.loads(problem)["msg"]) == (409, True)
    assert (await node.announce(node.spec(), wait="61"))[0] == 400
    assert (await node.announce(node.spec(), wait="soon"))[0] == 400


async def test_the_same_specification_twice_is_harmless_and_another_one_is_refused(node) -> None:
    spec = node.spec()
    await node.prepare(spec)

    assert (await node.announce(spec))[0] == 202
    status, problem = await node.announce(spec.model_copy(update={"cluster_hostname": "sub1"}))

    assert status == 409
    assert "another specification" in json.loads(problem)["msg"]


async def test_two_kernels_of_a_session_share_a_network_that_goes_with_the_last(node) -> None:
    first = node.spec()
    second = node.spec(session=first.session, cluster_hostname="sub1")
    await asyncio.gather(node.prepare(first), node.prepare(second))
    names = [row["Name"] for row in await node.engine.call("GET", "/networks")]
    assert names.count(network_name(first.session)) == 1

    assert await node.clean(first.kernel) == (0, "")
    assert network_name(first.session) in str(await node.left_of(second))
    assert await node.clean(second.kernel) == (0, "")

    await node.until(second.kernel, "kernel_terminated", "kernel_cleaned")
    await node.until_gone(second)


async def test_sessions_have_networks_of_their_own(node) -> None:
    specs = [node.spec() for _ in range(4)]
    await asyncio.gather(*(node.prepare(spec) for spec in specs))

    networks = [await node.engine.call("GET", f"/networks/{network_name(spec.session)}") for spec in specs]

    subnets = {network["IPAM"]["Config"][0]["Subnet"] for network in networks}
    assert len(subnets) == 4
    assert all(subnet.startswith("10.213.") and subnet.endswith("/28") for subnet in subnets)
    assert all(network["Labels"]["ai.caravan.cluster"] == node.config.cluster for network in networks)


async def test_the_node_is_heard_of_and_says_goodbye(node) -> None:
    async with asyncio.timeout(20):
        while not await node.told():
            await asyncio.sleep(0.01)
    await node.stop()

    events = [event for _, event in await node.told()]
    assert events[0].type == "node_heartbeat"
    assert events[0].slots == {"cpu": "2", "mem": "1073741824"}
    assert "caravan-test/dash:2" in events[0].images
    assert events[-1].type == "node_stopped"
    assert datetime.now(UTC) - events[-1].at < timedelta(seconds=5)


async def test_nobody_without_the_token_gets_in(node) -> None:
    spec = node.spec()
    for token in ("", "a-token-for-tests-onlY", "a-token-for-tests-only-and-more"):
        status, _ = await node.call("PUT", f"/kernels/{spec.kernel}", spec.model_dump_json(), token)
        assert status == 401
    assert oct(node.config.socket.stat().st_mode & 0o777) == "0o600"


async def test_secrets_are_readable_by_root_and_the_kernel_only(node) -> None:
    spec = node.spec(environ={"SECRET": "s"})
    await node.prepare(spec)
    state = node.config.state_dir

    record = state / "kernels" / f"{spec.kernel}.json"
    environ = state / "scratches" / str(spec.kernel) / "config" / "environ.txt"

    assert oct(state.stat().st_mode & 0o777) == "0o700"
    assert oct(record.stat().st_mode & 0o777) == "0o600"
    assert (environ.stat().st_uid, environ.stat().st_gid) == (0, node.config.gid)
    assert oct(environ.stat().st_mode & 0o777) == "0o640"


async def test_kernels_of_a_session_reach_each_other_by_name_and_other_sessions_do_not(node) -> None:
    image = "caravan-test/busybox:3"
    server = node.spec(image=image, startup_command="while :; do echo hello | nc -l -p 9000; done")
    ask = "for i in $(seq 50); do timeout 2 nc $ADDRESS 9000 </dev/null && exit 0; sleep 0.1; done; exit 1"
    await node.prepare(server)
    container = await node.run(server)
    await node.until(server.kernel, "kernel_started")
    networks = (await node.engine.call("GET", f"/containers/{container}/json"))["NetworkSettings"]["Networks"]
    address = networks[network_name(server.session)]["IPAddress"]

    friend = node.spec(
        image=image, session=server.session, cluster_hostname="sub1", startup_command=ask, environ={"ADDRESS": "main1"}
    )
    once = "timeout 2 nc $ADDRESS 9000 </dev/null || exit 1"
    stranger = node.spec(image=image, startup_command=once, environ={"ADDRESS": address})
    ended = []
    for spec in (friend, stranger):  # one after the other: the server surely answers when the stranger asks
        await node.prepare(spec)
        await node.run(spec)
        ended += (await node.until(spec.kernel, "kernel_started", "kernel_terminated", seconds=20))[1:]

    reached, refused = ended
    assert reached.exit_code == 0
    assert await node.log(friend.kernel) == "hello\n"
    assert refused.exit_code == 1
    assert "hello" not in await node.log(stranger.kernel)


async def test_the_log_of_a_running_kernel_is_whole_after_docker_rotated_its_file(node) -> None:
    spec = node.spec(startup_command="seq 80000; echo last; sleep 600 & wait")
    await node.prepare(spec)
    await node.run(spec, LogConfig={"Type": "json-file", "Config": {"max-size": "2m", "max-file": "2"}})
    await node.until(spec.kernel, "kernel_started")

    async with asyncio.timeout(60):
        while not (await node.call("GET", f"/kernels/{spec.kernel}/logs"))[1].endswith("\n80000\nlast\n"):
            await asyncio.sleep(0.1)
    lines = (await node.log(spec.kernel)).split()[1:-1]
    assert [int(line) for line in lines] == list(range(int(lines[0]), 80001))
