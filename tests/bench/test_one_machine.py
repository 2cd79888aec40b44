"""How long a user waits: for a running Caravan, and for a running session beside plain Docker."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caravan_deploy.client.environment import ensure_client
from caravan_deploy.client.main_job import Client, run_main_job
from caravan_deploy.layout import REPOSITORY
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack, second_stack

pytestmark = [pytest.mark.bench, pytest.mark.stack, pytest.mark.timeout(900)]

ROUNDS = 10


def test_up_with_the_programs_cached(bar: Callable[..., None], tmp_path: Path) -> None:
    ensure_client()
    began = time.monotonic()
    with second_stack() as stack:
        up = time.monotonic() - began
        run_main_job(Client(ensure_client(), stack.layout, stack.admin, tmp_path), REPOSITORY)
        whole = time.monotonic() - began
    bar("a new stack, programs cached", up, 90, "s")
    bar("a new stack and the main job's result, programs cached", whole, 90, "s")


def test_a_session_beside_plain_docker(stack: Stack, note: Callable[[str], None], network: str, tmp_path: Path) -> None:
    """Both arms in turn, in one run; the official client's own start-up is measured and taken off."""
    client = stack.client(tmp_path)
    sessions, containers, starts = [], [], []
    for number in range(ROUNDS):
        starts.append(_seconds(lambda: client.must("config")))
        name = f"bench-{number:02}"
        wanted = ("session", "create", "-r", "cpu=1", "-r", "mem=64m", "--name", name, REFERENCE)
        sessions.append(_seconds(lambda w=wanted: client.must(*w)))  # type: ignore[misc]
        client.must("session", "destroy", name)
        containers.append(_docker_run(network))
    start, session, container = map(statistics.median, (starts, sessions, containers))
    note(f"figure: `backend.ai session create` until RUNNING, median of {ROUNDS} = {session:.2f} s")
    note(f"figure: of that the client's own start, median = {start:.2f} s")
    note(f"figure: `docker run -d` of the same image, median of {ROUNDS} = {container:.2f} s")


def _seconds(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _docker_run(network: str) -> float:
    """Return how long a container takes until `docker run -d` says that it runs; it is removed afterwards."""
    wanted = ["docker", "run", "-d", "--init", "--network", network, REFERENCE, "sleep", "60"]
    began = time.monotonic()
    made = subprocess.run(wanted, capture_output=True, text=True, check=True)
    took = time.monotonic() - began
    subprocess.run(["docker", "rm", "-f", made.stdout.strip()], capture_output=True, check=True)
    return took


@pytest.fixture
def network() -> Iterator[str]:
    """A bridge of its own for plain Docker, as each session has one."""
    name = f"caravan-bench-{os.getpid()}"
    subprocess.run(
        ["docker", "network", "create", "--subnet", "10.191.255.0/28", name], capture_output=True, check=True
    )
    yield name
    subprocess.run(["docker", "network", "rm", name], capture_output=True, check=True)
