"""What users do with sessions that run: restart them, mount folders elsewhere, read logs, write hostile text."""

import json
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

RESOURCES = ("-r", "cpu=1", "-r", "mem=256m")


def batch(name: str, command: str) -> list[str]:
    return ["session", "create", "--type", "batch", "--startup-command", command, *RESOURCES, "--name", name]


def submitted_job(stack: Stack, session_id: str) -> str:
    """Return the session's job as Nomad has it, as text."""
    address = stack.layout.url(stack.layout.ports.nomad_http)
    asked = urllib.request.Request(f"{address}/v1/job/s-{session_id}?namespace=caravan")
    asked.add_header("X-Nomad-Token", stack.tokens.nomad_management)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.dumps(json.load(answer), ensure_ascii=False)


def test_a_restarted_session_goes_on_with_its_folders_and_a_new_container(
    user: User, image: str, leftovers: Leftovers
) -> None:
    command = 'echo run >> runs; echo "run $(grep -c run runs)"; touch /tmp/only-here; sleep 600'
    user.must(*batch("anew", command), image)
    before = user.session("anew")
    assert eventually(lambda: "run 1" in user.run("session", "logs", "anew").stdout)

    user.must("session", "restart", "anew")
    after = user.session("anew")
    assert (after["status"], after["session_id"]) == ("RUNNING", before["session_id"])
    assert eventually(lambda: "run 2" in user.run("session", "logs", "anew").stdout)
    assert "run 1" in user.must("session", "logs", "anew")

    user.must("session", "destroy", "anew")
    assert user.until("anew", "TERMINATED", "ERROR")["status_info"] == "user-requested"
    assert eventually(lambda: not leftovers.all())
    assert "not exist" in user.refused("session", "restart", "anew")


def test_folders_are_mounted_where_they_are_wanted(
    user: User, image: str, tmp_path: Path, leftovers: Leftovers
) -> None:
    user.needs("24.9")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "in.txt").write_text("content\n")
    wanted = user.own("wanted")
    user.must("vfolder", "create", wanted, "local:volume1")
    user.must("vfolder", "mkdir", wanted, "part")
    user.must("vfolder", "upload", wanted, "-b", str(tmp_path), "part/in.txt")
    script = (
        "cat /data/in.txt; touch /data/x 2>/dev/null || echo refused; "
        "cp named/part/in.txt /home/work/named/out.txt && echo written;"
        ' cut -d" " -f5 /proc/self/mountinfo | grep -e ^/data -e named; df -k /dev/shm | tail -1; env | grep PORTS'
    )
    mounts = ["-v", f"type=bind,source={wanted}/part,target=/data,permission=ro", "-v", f"{wanted}:named"]
    options = ["--resource-opts", "shmem=96m", "--preopen", "9000,9001"]
    user.must(*batch("mounted", script), *mounts, *options, image)
    assert user.until("mounted", "TERMINATED", "ERROR")["result"] == "SUCCESS"
    log = user.must("session", "logs", "mounted").splitlines()
    for line in ("content", "refused", "written", "/data", "/home/work/named", "BACKENDAI_PREOPEN_PORTS=9000,9001"):
        assert line in log, log
    assert any("98304" in line for line in log), log
    assert "out.txt" in user.must("vfolder", "ls", wanted, ".")
    assert eventually(lambda: not leftovers.all())

    session = user.session("mounted")
    assert "content" in user.must("task-logs", session["main_kernel_id"])
    assert "content" in user.must("session", "logs", session["session_id"])
    for target, answer in (
        ("/etc", "reserved"),
        ("/home/work", "reserved"),
        ("/opt/kernel/x", "reserved"),
        ("/a/../b", "mount"),
    ):
        told = user.refused(*batch("never", "true"), "-v", f"{wanted}:{target}", image)
        assert answer in told, told


def test_hostile_text_is_in_no_job_and_reaches_the_container_whole(
    user: User, image: str, stack: Stack, tmp_path: Path
) -> None:
    marks = "MARK1 ${NOMAD_TOKEN} ${node.unique.id} {{ env `HOME` }} ../../etc '\"\\ $(id)\nline two\ttab ünïcode"
    long = "MARK2" + "x" * (64 * 1024 - 200)
    command = (
        "# MARK3 ${NOMAD_TOKEN} {{ x }}\n"
        "python3 - <<'END'\n"
        "import hashlib, os\n"
        "for name in ('HOSTILE', 'LONG'):\n"
        "    print(name, hashlib.sha256(os.environ[name].encode()).hexdigest())\n"
        "END\n"
        "sleep 600"
    )
    (tmp_path / "boot.sh").write_text("echo MARK4 '${NOMAD_TOKEN}'; exit 7\n")
    variables = ["-e", f"HOSTILE={marks}", "-e", f"LONG={long}"]
    options = ["--bootstrap-script", str(tmp_path / "boot.sh"), "--tag", "MARK5 ${NOMAD_TOKEN}"]
    user.must(*batch("hostile-text", command), *variables, *options, image)
    wanted = [f"{name} {sha256(text.encode()).hexdigest()}" for name, text in (("HOSTILE", marks), ("LONG", long))]
    log = eventually(lambda: t if wanted[-1] in (t := user.run("session", "logs", "hostile-text").stdout) else "")
    assert wanted[0] in log
    assert "MARK4 ${NOMAD_TOKEN}" in log
    assert "the bootstrap script ended with 7" in log

    job = submitted_job(stack, user.session("hostile-text")["session_id"])
    assert '"ai.caravan.kernel"' in job
    for word in ("MARK", "NOMAD_TOKEN", "HOSTILE", "ünïcode", "xxxx"):
        assert word not in job
    user.must("session", "destroy", "hostile-text")
    assert "larger than" in user.refused(*batch("too-long", "x" * (64 * 1024 + 1)), image)
    assert "name" in user.refused(*batch("${NOMAD_TOKEN}", "true"), image)
