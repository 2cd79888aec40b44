"""The agent, Redis with its data, Nomad, Consul and Vault go away while sessions start, run and end."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.chaos.conftest import ROUNDS, Chaos
from tests.chaos.user import Journey, until

from caravan_deploy.layout import NOWHERE
from caravan_deploy.processes import Daemon
from caravan_deploy.servers.consul import consul_daemon, start_consul
from caravan_deploy.servers.nomad import nomad_daemon, start_nomad, wait_for_node
from caravan_deploy.servers.vault import start_vault, vault_daemon

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(300 + 900 * ROUNDS)]


def _kill_manager(chaos: Chaos) -> None:
    chaos.kill("caravan-manager")


def _kill_agent(chaos: Chaos) -> None:
    chaos.kill("caravan-agent")


def _kill_redis_with_its_data(chaos: Chaos) -> None:
    data = chaos.stack.layout.data / "redis"
    before = until(lambda: _redis(chaos), lambda: "Redis does not run")
    os.kill(before, signal.SIGKILL)
    for path in data.iterdir():
        shutil.rmtree(path)
    until(lambda: _redis(chaos) not in {0, before}, lambda: "Redis is not started again")


def _redis(chaos: Chaos) -> int:
    """Return the process ID of this stack's Redis, 0 when it does not run: it works in the folder of its data."""
    data = chaos.stack.layout.data / "redis"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            program = (folder / "cmdline").read_bytes().split(b" ")[0]
            if program.endswith(b"redis-server") and (folder / "cwd").readlink() == data:
                return int(folder.name)
        except OSError:
            continue
    return 0


def _end(daemon: Daemon) -> None:
    pid = daemon.pid()
    assert pid is not None, f"{daemon.name} does not run"
    os.kill(pid, signal.SIGKILL)
    daemon.stop()


def _restart_nomad(chaos: Chaos) -> None:
    stack = chaos.stack
    _end(nomad_daemon(stack.layout, NOWHERE))
    start_nomad(stack.layout, stack.tokens, stack.programs["nomad"])
    wait_for_node(stack.layout, stack.servers.nomad)


def _restart_consul(chaos: Chaos) -> None:
    _end(consul_daemon(chaos.stack.layout, NOWHERE))
    start_consul(chaos.stack.layout, chaos.stack.tokens, chaos.stack.programs["consul"])


def _restart_vault(chaos: Chaos) -> None:
    _end(vault_daemon(chaos.stack.layout, NOWHERE))
    start_vault(chaos.stack.layout, chaos.stack.tokens, chaos.stack.programs["vault"])


CRASHES: dict[str, Callable[[Chaos], None]] = {
    "kill -9 of the manager": _kill_manager,
    "kill -9 of the agent": _kill_agent,
    "kill -9 of Redis with its data": _kill_redis_with_its_data,
    "Nomad killed and started again": _restart_nomad,
    "Consul killed and started again": _restart_consul,
    "Vault killed and started again": _restart_vault,
}
MOMENTS = ("start", "run", "end")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("crash", CRASHES)
def test_sessions_converge_after(crash: str, moment: str, chaos: Chaos) -> None:
    figures = chaos.measured(crash)
    for number in range(max(1, round(ROUNDS / len(MOMENTS)))):
        name = f"{CRASHES[crash].__name__.strip('_').replace('_', '-')[:40]}-{moment}-{number}"
        journey = Journey(chaos.user, name)
        make = partial(_make, chaos, journey, moment, CRASHES[crash])
        problems = chaos.problems_of(journey, make, figures.seconds)
        figures.problems += [f"{crash}, {moment}: {problem}" for problem in problems]
        assert problems == []


def _make(chaos: Chaos, journey: Journey, moment: str, crash: Callable[[Chaos], None]) -> float:
    crashed = 0.0
    steps = (("start", journey.create), ("run", journey.run), ("end", journey.destroy), ("", journey.end))
    for after, step in steps:
        step()
        if after == moment:
            crash(chaos)
            crashed = time.time()
    return crashed


def test_a_lost_node_comes_back_with_its_sessions(chaos: Chaos) -> None:
    """The agent stands still for so long that its node is LOST; it goes on, and so do its sessions."""
    journey = Journey(chaos.user, "lost-node")
    journey.create()
    journey.run()
    agent = chaos.process("caravan-agent")
    os.kill(agent, signal.SIGSTOP)
    try:
        until(lambda: _node_is(chaos, "LOST"), lambda: "the node is not LOST", 150)
    finally:
        os.kill(agent, signal.SIGCONT)
    until(lambda: _node_is(chaos, "ALIVE"), lambda: "the node does not come back")
    states = {part: item["status"] for part, item in journey.all().items()}
    assert (states["desk"], states["forced"]) == ("RUNNING", "RUNNING")
    journey.destroy()
    journey.end()
    assert journey.problems() == []
    until(lambda: not chaos.left(), lambda: f"something is left: {chaos.left()}")


def _node_is(chaos: Chaos, status: str) -> bool:
    query = f'query {{ agent_list(limit: 10, offset: 0, status: "{status}") {{ items {{ id status }} }} }}'
    _, answer = chaos.user.insist("POST", "/admin/gql", {"query": query, "variables": {}})
    return bool(answer["data"]["agent_list"]["items"])
