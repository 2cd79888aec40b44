"""Virtual folders in a kernel: seen as they were asked for, never beyond their folder, never harmed by cleaning."""

# ruff: noqa: ASYNC110, ASYNC221, ASYNC240 - a test may block, and it looks again and again

import asyncio
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack


async def _output(node, spec) -> str:
    await node.prepare(spec)
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")
    await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    await node.remove(container)
    assert await node.clean(spec.kernel) == (0, "")
    return await node.log(spec.kernel)


async def test_a_read_only_folder_can_be_read_and_not_written(node) -> None:
    mount, folder = node.folder("data", "ro")
    (folder / "a").write_text("content\n")
    command = "cat data/a; touch data/b || echo refused; grep ' /home/work/data ' /proc/self/mountinfo"

    text = await _output(node, node.spec(startup_command=command, mounts=[mount]))

    assert "content\n" in text
    assert "refused\n" in text
    options = text.splitlines()[-1].split(" ")[5].split(",")
    assert {"ro", "nosuid", "nodev"} <= set(options)
    assert sorted(path.name for path in folder.iterdir()) == ["a"]


async def test_a_sub_path_is_all_that_is_seen_of_a_folder(node) -> None:
    mount, folder = node.folder("data", subpath="deep/er")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "inside").touch()
    (folder / "outside").touch()

    assert await _output(node, node.spec(startup_command="ls data", mounts=[mount])) == "inside\n"


async def test_a_folder_can_be_mounted_inside_another(node) -> None:
    outer, outer_files = node.folder("outer")
    inner, inner_files = node.folder("inner", "ro", target="/home/work/outer/a/b")
    (inner_files / "x").write_text("inner\n")
    spec = node.spec(startup_command="cat outer/a/b/x; touch outer/y", mounts=[inner, outer])

    assert await _output(node, spec) == "inner\n"

    assert (outer_files / "y").exists()
    assert (inner_files / "x").exists()
    assert list((outer_files / "a" / "b").iterdir()) == []


async def test_a_symbolic_link_in_a_sub_path_leads_nowhere(node) -> None:
    mount, folder = node.folder("data", subpath="link")
    (folder / "link").symlink_to("/etc")
    spec = node.spec(mounts=[mount])

    status, said = await node.announce(spec, wait="30")

    assert status == 409
    assert "cannot mount the folder data" in said
    assert "symbolic link" in said


async def test_a_symbolic_link_where_a_folder_is_to_be_mounted_leads_nowhere(node, tmp_path) -> None:
    outer, outer_files = node.folder("outer")
    inner, _ = node.folder("inner", target="/home/work/outer/link/etc")
    (outer_files / "link").symlink_to(tmp_path)
    spec = node.spec(mounts=[outer, inner])

    status, said = await node.announce(spec, wait="30")

    assert (status, "symbolic link" in said) == (409, True)
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("change", [{"target": "/etc/x"}, {"target": "/home/work"}, {"target": "/home/work/../x"},
                                    {"target": "data"}, {"subpath": "../x"}, {"subpath": "/etc"},
                                    {"volume": "other"}, {"quota_scope": "user:../../x"}, {"name": "a\nb"},
                                    ])  # fmt: skip
async def test_a_mount_that_leads_elsewhere_is_refused_when_it_is_announced(node, change) -> None:
    mount, _ = node.folder("data")
    spec = node.spec(mounts=[mount.model_dump(mode="json") | change])

    status, _ = await node.announce(spec)

    assert status == 400


async def test_a_folder_that_does_not_exist_fails_the_preparation_and_the_reason_is_told(node) -> None:
    mount, folder = node.folder("data")
    folder.rmdir()
    spec = node.spec(mounts=[mount])

    status, said = await node.announce(spec, wait="30")
    assert await node.clean(spec.kernel) == (0, "")

    terminated, _ = await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    assert (status, "data" in said) == (409, True)
    assert terminated.exit_code is None
    assert "cannot mount the folder data" in terminated.reason
    await node.until_gone(spec)


async def test_a_failed_preparation_can_be_tried_again(node) -> None:
    mount, folder = node.folder("data")
    folder.rmdir()
    spec = node.spec(mounts=[mount])
    assert (await node.announce(spec, wait="30"))[0] == 409

    folder.mkdir()

    await node.prepare(spec)


async def test_a_full_disk_is_waited_for(node) -> None:
    scratches = node.config.state_dir / "scratches"
    scratches.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(scratches)], check=True)
    (scratches / "full").write_bytes(b"x" * 60 * 1024)
    mount, _ = node.folder("data")
    spec = node.spec(mounts=[mount], environ={"A": "x" * 16 * 1024})

    status, problem = await node.announce(spec, wait="10")
    assert (status, "No space left" in problem) == (503, True)
    (scratches / "full").unlink()

    assert await node.announce(spec, wait="10") == (204, "")


async def test_a_mount_that_is_busy_is_taken_away_and_its_files_stay(node) -> None:
    mount, folder = node.folder("data")
    (folder / "precious").write_text("x")
    spec = node.spec(mounts=[mount])
    await node.prepare(spec)
    busy = node.config.state_dir / "scratches" / str(spec.kernel) / "work" / "data"
    holder = await asyncio.create_subprocess_exec("sleep", "60", cwd=busy)
    try:
        assert await node.clean(spec.kernel) == (0, "")
    finally:
        holder.kill()
        await holder.wait()

    await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    assert (folder / "precious").read_text() == "x"
    await node.until_gone(spec)


async def test_a_second_mount_over_the_first_is_taken_away_too(node) -> None:
    mount, folder = node.folder("data")
    (folder / "precious").write_text("x")
    spec = node.spec(mounts=[mount])
    await node.prepare(spec)
    target = node.config.state_dir / "scratches" / str(spec.kernel) / "work" / "data"
    subprocess.run(["mount", "--bind", str(folder), str(target)], check=True)

    assert await node.clean(spec.kernel) == (0, "")

    assert (folder / "precious").read_text() == "x"
    await node.until(spec.kernel, "kernel_terminated", "kernel_cleaned")
    await node.until_gone(spec)


async def test_what_a_kernel_made_in_its_home_is_removed_whatever_it_is(node) -> None:
    victim = node.volume / "victim"
    victim.write_text("stays")
    command = f"ln -s {victim} link; d=x; for i in $(seq 1 300); do mkdir $d; cd $d; done; touch f; cd /; echo done"
    spec = node.spec(startup_command=command, image="caravan-test/busybox:3")
    text = await _output(node, spec)

    assert text.endswith("done\n")
    await node.until(spec.kernel, "kernel_started", "kernel_terminated", "kernel_cleaned")
    assert victim.read_text() == "stays"
    await node.until_gone(spec)
    assert not Path(node.config.state_dir / "scratches" / str(spec.kernel)).exists()


async def test_a_folder_outside_of_home_is_mounted_in_the_container_and_nowhere_else(node) -> None:
    data, files = node.folder("data", "ro", target="/data")
    deep, deep_files = node.folder("deep", target="/mnt/sets/a", subpath="part")
    (deep_files / "part").mkdir(mode=0o777)
    (files / "x").write_text("content\n")
    command = (
        "cat /data/x; touch /data/y 2>/dev/null || echo refused; touch /mnt/sets/a/z && echo written; "
        "grep -c ' /data ' /proc/self/mountinfo; grep ' /data ' /proc/self/mountinfo"
    )
    spec = node.spec(startup_command=command, mounts=[data, deep])
    (deep_files / "part").chmod(0o777)

    text = await _output(node, spec)

    lines = text.splitlines()
    assert lines[:4] == ["content", "refused", "written", "1"]
    assert {"ro", "nosuid", "nodev"} <= set(lines[4].split(" ")[5].split(","))
    assert (deep_files / "part" / "z").exists()
    assert str(files) not in Path("/proc/self/mountinfo").read_text()
    await node.until_gone(spec)


async def test_no_users_folder_lies_in_the_way_of_roots_programs(node) -> None:
    tools, files = node.folder("tools", target="/usr/local/bin")
    for name in ("setpriv", "id", "chroot"):
        (files / name).write_text('#!/bin/sh\nid -u >> /home/work/who\nexec /bin/$(basename $0) "$@"\n')
        (files / name).chmod(0o755)
    command = "cat /proc/self/mountinfo | grep -c /usr/local/bin; cat who 2>/dev/null; echo done"

    text = await _output(node, node.spec(startup_command=command, mounts=[tools]))

    assert text == "1\ndone\n"


async def test_a_second_container_has_the_folder_outside_of_home_too(node) -> None:
    data, files = node.folder("data", target="/data")
    spec = node.spec(startup_command="echo x >> /data/runs; sleep 600 & wait", mounts=[data])
    await node.prepare(spec)
    for number in (1, 2):
        container = await node.run(spec)
        async with asyncio.timeout(20):
            while not (files / "runs").exists() or len((files / "runs").read_text().split()) < number:
                await asyncio.sleep(0.02)
        await node.engine.call("POST", f"/containers/{container}/stop", {"t": "5"})
        await node.remove(container)
    await node.clean(spec.kernel)
    await node.until_gone(spec)


async def test_an_agent_that_was_away_mounts_what_a_container_waits_for(node) -> None:
    data, files = node.folder("data", target="/data")
    spec = node.spec(startup_command="cat /data/x", mounts=[data])
    (files / "x").write_text("content\n")
    await node.prepare(spec)
    await node.stop()
    container = await node.run(spec)
    await asyncio.sleep(0.3)
    await node.start()

    await node.engine.call("POST", f"/containers/{container}/wait")
    await node.until(spec.kernel, "kernel_started", "kernel_terminated")
    assert await node.log(spec.kernel) == "content\n"
    await node.remove(container)
    await node.clean(spec.kernel)


async def test_a_target_that_the_image_leads_elsewhere_ends_the_kernel_with_the_reason(node) -> None:
    data, _ = node.folder("data", target="/link/data")
    spec = node.spec(image="caravan-test/linked:1", startup_command="echo never", mounts=[data])
    subprocess.run(["docker", "build", "-q", "-t", spec.image, "-"], check=True, capture_output=True, text=True,
                   input="FROM caravan-test/busybox:3\nRUN ln -s /etc /link\n")  # fmt: skip
    await node.prepare(spec)
    container = await node.run(spec)

    _, ended = await node.until(spec.kernel, "kernel_started", "kernel_terminated", seconds=30)
    assert "symbolic link" in ended.reason
    assert "never" not in await node.log(spec.kernel)
    await node.remove(container)
    await node.clean(spec.kernel)
    await node.until_gone(spec)


async def test_a_folder_that_is_not_there_is_said_before_the_container_runs(node) -> None:
    data, _ = node.folder("data", target="/data", subpath="missing")
    spec = node.spec(startup_command="true", mounts=[data])
    status, said = await node.announce(spec, wait="30")
    assert status == 409
    assert "cannot mount the folder data" in said
    await node.clean(spec.kernel)
