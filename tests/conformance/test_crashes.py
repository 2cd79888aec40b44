"""A service dies while sessions run; users' sessions do not."""

import os
import signal
import urllib.request

import pytest
from tests.conformance.conftest import Leftovers, User, eventually
from tests.processes import process_of

from caravan_deploy.layout import CLIENT_VERSION
from caravan_deploy.second import Stack

pytestmark = [pytest.mark.stack, pytest.mark.parametrize("user", [CLIENT_VERSION], indirect=True)]

MANAGER, AGENT = "caravan-manager", "caravan-agent"
"""Each dies in one test of every run, and in both of the long one."""


def _in_the_long_run(service: str) -> object:
    return pytest.param(service, marks=pytest.mark.slow)


def _kill(stack: Stack, service: str) -> None:
    """End a service of this stack as a crash does, and wait until Nomad runs it again."""
    before = process_of(stack, service)
    assert before, f"{service} does not run"
    os.kill(before, signal.SIGKILL)
    eventually(lambda: process_of(stack, service) not in {0, before} and _answers(stack))


def _answers(stack: Stack) -> bool:
    try:
        with urllib.request.urlopen(f"{stack.endpoint}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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
    assert eventually(lambda: "last" in user.run("session", "logs", name).stdout)  # the agent may still be starting
    assert eventually(lambda: not leftovers.all())
