"""Sessions of several containers, as users of the official client have them: all begin together, or none does."""

import re
import subprocess
from collections.abc import Generator
from typing import Any

import pytest
from tests.conformance.conftest import Leftovers, User, eventually, sql

from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

NOWHERE = "127.0.0.1:9"
"""A registry that refuses every connection: an image of it is there only when Docker has it already."""
LATE = f"{NOWHERE}/late:1"
GANG = ["session", "create", "--type", "batch", "--cluster-size", "2", "-r", "cpu=1", "-r", "mem=256m"]
TOGETHER = """
import os, socket, time
hosts = os.environ["BACKENDAI_CLUSTER_HOSTS"].split(",")
print("I am", socket.gethostname(), os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
print("addresses", len({socket.gethostbyname(host) for host in hosts}), flush=True)
server = socket.create_server(("", int(os.environ["MASTER_PORT"])))
print("heard", server.accept()[0].makefile().readline(), flush=True)
"""
SUB = """[ "$BACKENDAI_CLUSTER_ROLE" = main ] || exec python3 -c '
import os, socket, time
while True:
    try:
        meeting = socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        break
    except OSError:
        time.sleep(0.1)
meeting.sendall((socket.gethostname() + " " + os.environ["RANK"] + "\\n").encode())
time.sleep(600)
'
"""


@pytest.fixture
def gangs(stack: Stack) -> Generator[None]:
    """Let users have sessions of two containers, and an image that no node has."""
    copied = "tag, architecture, digest, size_bytes, is_local, status, labels, accelerators"
    sql(
        stack,
        "UPDATE keypair_resource_policies SET max_containers_per_session = 2",
        f"INSERT INTO images (id, registry, name, {copied}) "
        f"SELECT gen_random_uuid(), '{NOWHERE}', 'late', '1', {copied.removeprefix('tag, ')} FROM images LIMIT 1",
    )
    yield
    subprocess.run(["docker", "rmi", LATE], capture_output=True)
    sql(
        stack,
        "UPDATE keypair_resource_policies SET max_containers_per_session = 1",
        f"DELETE FROM images WHERE registry = '{NOWHERE}'",
    )


def _lost(session: dict[str, Any]) -> list[dict[str, Any]]:
    return session["status_data"].get("gang", {}).get("lost", [])


def test_two_ranks_begin_when_both_are_up_and_find_each_other(
    user: User, image: str, gangs: None, leftovers: Leftovers, tmp_path: Any
) -> None:
    (tmp_path / "boot.sh").write_text(SUB)
    options = ["--bootstrap-script", str(tmp_path / "boot.sh"), "--name", "pair"]
    user.must(*GANG, *options, "--startup-command", f"exec python3 -c '{TOGETHER}'", image)
    ended = user.until("pair", "TERMINATED", "ERROR")
    assert (ended["status"], ended["result"]) == ("TERMINATED", "SUCCESS"), ended
    log = user.must("session", "logs", "pair")
    for line in ("I am main1 0 of 2", "addresses 2", "heard sub1 1"):
        assert line in log, log
    history = user.ask("POST", "/admin/gql", {"query": HISTORY % ended["session_id"], "variables": {}})
    kernels = history.body["data"]["compute_session"]["containers"]
    assert sorted((k["cluster_hostname"], k["status"]) for k in kernels) == [
        ("main1", "TERMINATED"),
        ("sub1", "TERMINATED"),
    ]
    assert eventually(lambda: not leftovers.all())


HISTORY = '{ compute_session(id: "%s") { containers { cluster_hostname status occupied_slots } } }'


def test_more_containers_than_the_policy_allows_are_refused(user: User, image: str, gangs: None) -> None:
    wanted = [word if word != "2" else "3" for word in GANG]
    assert re.search("containers", user.refused(*wanted, "--startup-command", "true", "--name", "crowd", image))


def test_a_gang_that_loses_a_rank_before_it_begins_is_placed_anew(
    user: User, gangs: None, leftovers: Leftovers
) -> None:
    """Its image is not there at first: the containers of the first attempt never come up."""
    user.must(*GANG, "--enqueue-only", "--startup-command", "echo begun", "--name", "patient", LATE)
    assert eventually(lambda: _lost(user.session("patient")))
    subprocess.run(["docker", "tag", REFERENCE, LATE], check=True, capture_output=True)
    ended = user.until("patient", "TERMINATED", "ERROR")
    assert (ended["status"], ended["result"]) == ("TERMINATED", "SUCCESS"), ended
    assert user.must("session", "logs", "patient").count("begun") == 1
    assert eventually(lambda: not leftovers.all())


def test_a_gang_that_never_comes_up_is_given_up_with_the_reason(user: User, gangs: None, leftovers: Leftovers) -> None:
    user.must(*GANG, "--enqueue-only", "--startup-command", "echo begun", "--name", "hopeless", LATE)
    ended = user.until("hopeless", "TERMINATED", "ERROR")
    assert (ended["status"], ended["status_info"]) == ("ERROR", "failed-to-start")
    assert len(_lost(ended)) == 3
    assert "a rank was lost before all were up" in ended["status_data"]["error"]["repr"]
    assert eventually(lambda: not leftovers.all())
