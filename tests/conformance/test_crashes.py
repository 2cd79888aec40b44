"""A service dies while sessions run; users' sessions do not."""

import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

from caravan_deploy.layout import CLIENT_VERSION
from caravan_deploy.second import Stack

pytestmark = [pytest.mark.stack, pytest.mark.parametrize("user", [CLIENT_VERSION], indirect=True)]

MANAGER, AGENT = "caravan-manager", "caravan-agent"
"""Each dies in one test of every run, and in both of the long one."""


def _in_the_long_run(service: str) -> object:
    return pytest.param(service, marks=pytest.mark.slow)


def _kill(stack: Stack, service: str) -> None:
    """End a service of this stack as a crash does, and wait until Nomad runs it again."""
    before = _process(stack, service)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: _process(stack, service) not in {0, before} and _answers(stack))


def _answers(stack: Stack) -> bool:
    try:
        with urllib.request.urlopen(f"{stack.endpoint}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _process(stack: Stack, service: str) -> int:
    """Return the process ID of a service of this stack, 0 when it does not run."""
    wanted = re.compile(rf"\S*/{service}\0serve\0--config\0{re.escape(str(stack.layout.root))}/".encode())
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted.search((folder / "cmdline").read_bytes()):
                return int(folder.name)
        except OSError:
            continue
    return 0


@pytest.mark.parametrize("service", [MANAGER, _in_the_long_run(AGENT)])
def test_a_session_outlives_a_crash_of_the(
    service: str, stack: Stack, user: User, image: str, leftovers: Leftovers
) -> None:
    name = f"outlives-{service.removeprefix('caravan-')}"
    user.must("session", "create", "-r", "cpu=1", "-r", "mem=256m", "--name", name, image)
    _kill(stack, service)
    assert user.session(name)["status"] == "RUNNING"
    user.must("session", "destroy", name)
    assert user.until(name, "TERMINATED")["status_info"] == "user-requested"
    assert eventually(lambda: not leftovers.all())


@pytest.mark.parametrize("service", [_in_the_long_run(MANAGER), AGENT])
def test_an_end_during_a_crash_is_not_missed(
    service: str, stack: Stack, user: User, image: str, leftovers: Leftovers
) -> None:
    name = f"ends-with-{service.removeprefix('caravan-')}"
    wanted = ["session", "create", "--type", "batch", "--startup-command", "sleep 2; echo last; exit 7"]
    user.must(*wanted, "-r", "cpu=1", "-r", "mem=256m", "--name", name, image)
    _kill(stack, service)
    ended = user.until(name, "TERMINATED", "ERROR")
    assert (ended["status"], ended["result"]) == ("TERMINATED", "FAILURE")
    assert ended["status_data"]["kernel"]["exit_code"] == 7
    assert "last" in user.must("session", "logs", name)
    assert eventually(lambda: not leftovers.all())
