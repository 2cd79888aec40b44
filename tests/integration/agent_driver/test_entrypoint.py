"""What a user's process sees in a container, in images with different shells: texts arrive as the texts they are."""

import asyncio
import json

import pytest

pytestmark = pytest.mark.stack

IMAGES = ["caravan-test/dash:2", "caravan-test/bash:2", "caravan-test/busybox:3"]

HOSTILE = {
    "PLAIN": "value",
    "EMPTY": "",
    "SPACES": "  leading and trailing  ",
    "QUOTES": "'\"`\\'\\\"",
    "SUBSTITUTION": "$(touch /home/work/pwned) `touch /home/work/pwned` ${NOMAD_ALLOC_ID} $HOME \\n %s",
    "TEMPLATE": "{{ key \"x\" }} ${attr.unique.hostname} [[ x ]]",
    "GLOB": "* ? [a-z] ~",
    "EQUALS": "a=b=c;export PLAIN=stolen",
    "NEW_LINES": "first\nPLAIN=stolen\n\nlast",
    "LAST_NEW_LINE": "x\n\n",
    "ONLY_NEW_LINE": "\n",
    "CARRIAGE": "a\r\nb\rc",
    "TAB": "\ta\t",
    "UNICODE": "ÁÂ\u0081\u0088 ぁ あ é \U0001f600 \u2028 \ufeff",
    "CONTROL": "\x01\x02\x1b[31m\x7f",
    "LONG": "x" * 65536,
    "LONG_LINES": "y\n" * 32768,
    "UID": "77",
    "EUID": "77",
    "IFS": "abc",
    "PS4": "$(touch /home/work/pwned)",
    "ENV": "/home/work/nothing",
    "BASH_ENV": "/home/work/nothing",
    "LD_PRELOAD_": "x",
    "OPTIND": "3",
    "PPID": "1",
    "_UNDERSCORE": "1",
}  # fmt: skip


async def _finish(node, spec):
    await node.prepare(spec)
    container = await node.run(spec)
    await node.engine.call("POST", f"/containers/{container}/wait")
    return (await node.until(spec.kernel, "kernel_started", "kernel_terminated"))[1]


async def test_hostile_values_reach_the_process_as_the_text_they_are(node) -> None:
    script = "cat /proc/$$/environ > /home/work/out/environ; touch /home/work/out/done"

    async def live(image: str) -> None:
        mount, folder = node.folder("out")
        spec = node.spec(image=image, environ=HOSTILE, startup_command=script, mounts=[mount])

        ended = await _finish(node, spec)

        seen = dict(entry.split("=", 1) for entry in (folder / "environ").read_bytes().decode().split("\0") if entry)
        assert ended.exit_code == 0, image
        assert {name: seen.get(name) for name in HOSTILE} == HOSTILE, image
        assert (seen["HOME"], seen["USER"], seen["LOCAL_USER_ID"]) == ("/home/work", "work", "1000"), image
        home = node.config.state_dir / "scratches" / str(spec.kernel) / "work"
        assert not (home / "pwned").exists(), image

    await asyncio.gather(*map(live, IMAGES))


async def test_the_process_is_the_user_work_in_its_home(node) -> None:
    command = "id -u; id -g; id -un; pwd; id -G; touch /etc/x 2>&1 || echo refused"
    specs = [node.spec(image=image, startup_command=command) for image in IMAGES]

    await asyncio.gather(*(_finish(node, spec) for spec in specs))

    for spec in specs:
        lines = (await node.log(spec.kernel)).splitlines()
        assert lines[:5] == ["1000", "1000", "work", "/home/work", "1000"], spec.image
        assert "refused" in lines, spec.image


async def test_a_batch_command_is_a_whole_script_and_its_exit_code_is_the_containers(node) -> None:
    script = 'x="it\'s"\nfor i in 1 2; do\n  echo "$x ${i} {{ y }} ${NOMAD_X-none}" # ☃\ndone\nexit 42'
    specs = [node.spec(image=image, startup_command=script) for image in IMAGES]

    ended = await asyncio.gather(*(_finish(node, spec) for spec in specs))

    assert [end.exit_code for end in ended] == [42, 42, 42]
    for spec in specs:
        assert await node.log(spec.kernel) == "it's 1 {{ y }} none\nit's 2 {{ y }} none\n", spec.image


async def test_an_interactive_kernel_ends_at_once_on_either_signal(node) -> None:
    async def live(image: str, signal: str) -> int | None:
        spec = node.spec(image=image)
        await node.prepare(spec)
        container = await node.run(spec)
        await node.until(spec.kernel, "kernel_started")
        await node.until_it_waits(container)
        await node.engine.call("POST", f"/containers/{container}/kill", {"signal": signal})
        _, ended = await node.until(spec.kernel, "kernel_started", "kernel_terminated")
        return ended.exit_code

    ends = [(image, signal) for image in IMAGES for signal in ("SIGTERM", "SIGINT")]
    codes = await asyncio.gather(*(live(*end) for end in ends))
    assert dict(zip(ends, codes, strict=True)) == dict.fromkeys(ends, 0)


async def test_the_bootstrap_script_runs_first_with_the_same_environment(node) -> None:
    spec = node.spec(bootstrap_script="echo boot $X; exit 9", startup_command="echo main $X", environ={"X": "1 2"})

    ended = await _finish(node, spec)

    assert ended.exit_code == 0
    lines = (await node.log(spec.kernel)).splitlines()
    lines.remove("entrypoint: the bootstrap script ended with 9")  # to stderr: Docker reads the two as it likes
    assert lines == ["boot 1 2", "main 1 2"]


async def test_a_user_cannot_choose_who_they_are(node) -> None:
    spec = node.spec(environ={"LOCAL_USER_ID": "0", "USER": "root", "PATH": "/home/work"}, startup_command="/bin/id -u")

    await _finish(node, spec)

    assert await node.log(spec.kernel) == "1000\n"


@pytest.mark.parametrize(
    "environ", [{"A B": "x"}, {"": "x"}, {"1A": "x"}, {"A": "a\0b"}, {"A=B": "x"}, {"A": "x" * 131072}, {"../x": "\n"},
                {f"A{i}": "x" * 100_000 for i in range(11)}]
)  # fmt: skip
async def test_an_environment_that_no_process_can_have_is_refused(node, environ) -> None:
    status, problem = await node.announce(node.spec(environ=environ))

    assert status == 400
    assert "xxxx" not in json.loads(problem)["msg"]


@pytest.mark.parametrize(("own", "seen"), [({}, "/driver"), ({"LD_LIBRARY_PATH": "/mine"}, "/driver:/mine")])
async def test_a_drivers_libraries_go_before_the_users_own(node, own, seen) -> None:
    environ = {"CARAVAN_LIBRARY_PATH": "/driver", **own}
    command = 'printf "%s\\n" "$LD_LIBRARY_PATH"'
    specs = [node.spec(image=image, environ=environ, startup_command=command) for image in IMAGES]

    await asyncio.gather(*(_finish(node, spec) for spec in specs))

    assert [await node.log(spec.kernel) for spec in specs] == 3 * [f"{seen}\n"]
