"""What users do with the official client, typed as they type it, on the whole real stack."""

import json
import re
from pathlib import Path

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

from caravan_deploy.layout import CLIENT_VERSION, REPOSITORY

pytestmark = pytest.mark.stack

EXAMPLE = REPOSITORY / "examples" / "main-job"
HOSTILE = (
    "a 'b' \"c\" `id` $(id) ${NOMAD_TOKEN} ${node.unique.id} {{ env `HOME` }} ../../etc \\n\ttab ünïcode\nsecond line"
)


def _batch(user: User, image: str, name: str, command: str, *more: str) -> None:
    wanted = ["session", "create", "--type", "batch", "--startup-command", command, "-r", "cpu=1", "-r", "mem=256m"]
    user.must(*wanted, *more, "--name", name, image)


def test_the_main_job(user: User, image: str, tmp_path: Path, leftovers: Leftovers) -> None:
    data = user.own("data")
    user.must("vfolder", "create", data, "local:volume1")
    user.must("vfolder", "upload", data, "-b", str(EXAMPLE), "train.py", "input.csv")
    _batch(user, image, "train", f"cd /home/work/{data} && python3 train.py", "-v", data)
    ended = user.until("train", "TERMINATED", "ERROR", "CANCELLED")
    assert (ended["status"], ended["result"]) == ("TERMINATED", "SUCCESS")

    info = user.must("session", "info", ended["session_id"])
    assert "TERMINATED" in info
    assert "train" in user.must("session", "list", "--status", "TERMINATED")
    assert "mean" in user.must("session", "logs", "train")
    user.must("vfolder", "download", data, "result.json", folder=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["rows"] > 0
    assert eventually(lambda: not leftovers.all())
    assert "result.json" in user.must("vfolder", "ls", data, ".")


def test_an_interactive_session(user: User, image: str, leftovers: Leftovers) -> None:
    made = user.must("session", "create", "-r", "cpu=1", "-r", "mem=256m", "--name", "desk", image)
    assert "is created and ready" in made
    running = user.session("desk")
    assert running["status"] == "RUNNING"
    assert "RUNNING" in user.must("session", "info", running["session_id"])
    assert "desk" in user.must("session", "list")
    user.must("session", "logs", "desk")
    user.must("session", "destroy", "desk")
    ended = user.until("desk", "TERMINATED")
    assert ended["status_info"] == "user-requested"
    assert eventually(lambda: not leftovers.all())


def test_a_failing_command_is_a_failure_with_its_exit_code(user: User, image: str) -> None:
    _batch(user, image, "broken", "echo before; exit 3")
    ended = user.until("broken", "TERMINATED", "ERROR")
    assert ended["result"] == "FAILURE"
    assert ended["status_data"]["kernel"]["exit_code"] == 3
    assert "before" in user.must("session", "logs", "broken")


def test_hostile_text_reaches_the_container_as_the_text_it_is(user: User, image: str) -> None:
    command = "python3 -c 'import os, json; print(json.dumps(os.environ[\"HOSTILE\"]))'"
    _batch(user, image, "hostile", command, "-e", f"HOSTILE={HOSTILE}")
    assert user.until("hostile", "TERMINATED", "ERROR")["result"] == "SUCCESS"
    line = next(line for line in user.must("session", "logs", "hostile").splitlines() if line.startswith('"'))
    assert json.loads(line) == HOSTILE


def test_the_container_is_what_images_expect(user: User, image: str) -> None:
    script = "whoami; pwd; echo $HOME; hostname; env | grep ^BACKENDAI_ | sort; cat /home/config/resource.txt"
    _batch(user, image, "contract", script)
    assert user.until("contract", "TERMINATED", "ERROR")["result"] == "SUCCESS"
    log = user.must("session", "logs", "contract")
    for line in ("work", "/home/work", "main1", "BACKENDAI_SESSION_NAME=contract", "BACKENDAI_CLUSTER_ROLE=main"):
        assert line in log.splitlines(), log
    assert "SLOTS=" in log


def test_a_short_log_is_whole_and_a_long_one_keeps_its_end(user: User, image: str) -> None:
    _batch(user, image, "short", "echo only-line")
    _batch(user, image, "long", "seq 1 130000")
    for name, last in (("short", "only-line"), ("long", "130000")):
        assert user.until(name, "TERMINATED", "ERROR")["result"] == "SUCCESS"
        log = eventually(lambda n=name: user.run("session", "logs", n).stdout)
        assert last in log.splitlines(), log[-200:]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--name", "fine-name", "no/such:image"], "No such environment image"),
        (["--name", "x", "{image}"], "name|4 to 64 characters"),
        (["-r", "cpu=1", "-r", "mem=1k", "--name", "too-small", "{image}"], "smaller than the minimum"),
        (["-v", "no-such-folder", "--name", "fine-name", "{image}"], "No such virtual folder"),
        (["--type", "batch", "--startup-command", " ", "--name", "no-command", "{image}"], "startup command"),
    ],
)
def test_what_cannot_be_is_refused_in_words(user: User, image: str, arguments: list[str], answer: str) -> None:
    told = user.refused("session", "create", *[a.replace("{image}", image) for a in arguments])
    assert re.search(answer, told)
    assert "fine-name" not in user.statuses()


def test_a_name_is_live_once(user: User, image: str) -> None:
    user.must("session", "create", "-r", "cpu=1", "-r", "mem=256m", "--name", "once", image)
    again = user.must("session", "create", "-r", "cpu=1", "-r", "mem=256m", "--name", "once", image)
    assert "reused" in again or "is created" not in again or "ready" in again
    assert "already" in user.refused("session", "create", "--no-reuse", "--name", "once", image)
    user.must("session", "destroy", "once")
    user.until("once", "TERMINATED")


@pytest.mark.parametrize("user", [CLIENT_VERSION], indirect=True)
def test_sixteen_batch_sessions_at_once_all_end_well(user: User, image: str, leftovers: Leftovers) -> None:
    names = [f"many-{number:02}" for number in range(16)]
    _batch(user, image, names[0], "echo first", "--enqueue-only")
    for name in names[1:]:
        wanted = {"type": "batch", "startupCommand": f"echo {name}", "name": name, "image": image, "enqueueOnly": True}
        made = user.ask("POST", "/session", wanted | {"config": {"resources": {"cpu": "1", "mem": "256m"}}})
        assert made.status == 201, made
    eventually(lambda: {user.statuses()[name] for name in names} == {"TERMINATED"}, limit=120)
    assert {session["result"] for session in user.sessions() if session["name"] in names} == {"SUCCESS"}
    assert eventually(lambda: not leftovers.all())
