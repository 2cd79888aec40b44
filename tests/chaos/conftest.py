"""A stack of its own whose services may be killed, what sessions leave on the machine, and the bar's figures."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.user import Journey, User, until
from tests.processes import process_of

from caravan_common.failpoints import VARIABLE, Folder
from caravan_deploy.platform.jobs import SERVICES, Platform
from caravan_deploy.second import Stack, second_stack

ROUNDS = int(os.environ.get("CARAVAN_CHAOS_ROUNDS", "1"))
"""How often each thing is killed: 20 for the bar (`make chaos`)."""
GOAL_SECONDS = 60.0
RESTARTS = {"Attempts": 500, "Delay": 500_000_000, "Mode": "delay"}
KILLED = {"caravan-manager": "manager", "caravan-agent": "agent"}


@dataclass
class Figures:
    """What the rounds of one kind of crash measured."""

    name: str
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        longest = max(self.seconds, default=0.0)
        verdict = ["falls short", "holds"]
        rounds = f"{len(self.seconds)} rounds"
        return [
            f"bar: {self.name}, longest of {rounds} until nothing is left = {longest:.1f} s"
            f" (goal at most {GOAL_SECONDS:g} s) {verdict[0 < longest <= GOAL_SECONDS]}",
            f"bar: {self.name}, sessions lost, stuck or wrong in {rounds} = {len(self.problems)}"
            f" (goal 0) {verdict[not self.problems]}",
        ]


_FIGURES = pytest.StashKey[dict[str, Figures]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the bars at the end."""
    for figures in config.stash.get(_FIGURES, {}).values():
        for line in [*figures.lines(), *(f"  {problem}" for problem in figures.problems)]:
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Chaos:
    """The stack, its user, and the folder through which processes are told where to die."""

    stack: Stack
    user: User
    folder: Folder
    figures: dict[str, Figures]

    def measured(self, name: str) -> Figures:
        """Return the figures of one kind of crash."""
        return self.figures.setdefault(name, Figures(name))

    def process(self, service: str) -> int:
        """Return the process ID of a service of this stack, 0 when it does not run."""
        return process_of(self.stack, service)

    def kill(self, service: str) -> None:
        """Kill a service, as a crash does. Nomad starts it again."""
        before = until(lambda: self.process(service), lambda: f"{service} does not run")
        os.kill(before, signal.SIGKILL)
        until(lambda: self.process(service) not in {0, before}, lambda: f"{service} is not started again")

    def problems_of(self, journey: Journey, make: Callable[[], float], seconds: list[float]) -> list[str]:
        """Have a journey made, note how long it takes until nothing of it is left, and say what went otherwise.

        ``make`` returns when the last crash was.
        """
        try:
            since = max(make(), journey.last_act)
            until(lambda: not self.left(), lambda: f"something is left: {self.left()}")
        except AssertionError as error:
            left = self.left()
            journey.give_up()
            return [str(error), *left]
        seconds.append(time.time() - since)
        return journey.problems()

    def left(self) -> list[str]:
        """Return a line for each thing of a session that is still there."""
        return [*self._containers(), *self._networks(), *self._files(), *self._allocations()]

    def _containers(self) -> list[str]:
        scratches = str(self.stack.layout.agent_state / "scratches")
        return [
            f"container {line}"
            for line in _docker("ps", "-a", "{{.ID}} {{.Mounts}}", "--no-trunc")
            if scratches in line
        ]

    def _networks(self) -> list[str]:
        label = f"label=ai.caravan.cluster={self.stack.layout.name}"
        return [f"network {line}" for line in _docker("network", "ls", "{{.Name}}", "--filter", label)]

    def _files(self) -> list[str]:
        state = self.stack.layout.agent_state
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        found = [str(path) for folder in ("scratches", "kernels") for path in (state / folder).glob("*")]
        return found + [f"mount {mount}" for mount in mounts if mount.startswith(str(state))]

    def _allocations(self) -> list[str]:
        listed: list[dict[str, Any]] = self.stack.servers.nomad.call("GET", "/v1/allocations?namespace=caravan")
        return [f"allocation of {a['JobID']}" for a in listed if a["ClientStatus"] in {"running", "pending"}]


def _docker(command: str, sort: str, form: str, *more: str) -> list[str]:
    done = subprocess.run(
        ["docker", command, sort, "--format", form, *more], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="session")
def chaos(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Generator[Chaos]:
    """Give a stack of its own whose manager and agent die where a test says, and are started again at once."""
    folder = Folder(tmp_path_factory.mktemp("failpoints"))
    with second_stack() as stack:
        platform = Platform(stack.layout, stack.servers.nomad, stack.servers.consul)
        for job in KILLED:
            _let_die(stack, job, folder.path)
        found = Chaos(stack, User(stack), folder, pytestconfig.stash.setdefault(_FIGURES, {}))
        for job in KILLED:
            until(lambda j=job: _has_variable(found.process(j)), lambda j=job: f"{j} does not run with {VARIABLE}")
        for job in SERVICES:
            platform.wait_until_healthy(job)
        found.user.make_folder()
        yield found


def _let_die(stack: Stack, job: str, folder: Path) -> None:
    definition = stack.servers.nomad.call("GET", f"/v1/job/{job}")
    (group,) = definition["TaskGroups"]
    group["RestartPolicy"] |= RESTARTS
    for task in group["Tasks"]:
        task["RestartPolicy"] = None
        if task["Name"] == KILLED[job]:
            task["Env"] = (task["Env"] or {}) | {VARIABLE: str(folder)}
    stack.servers.nomad.call("POST", "/v1/jobs", {"Job": definition})


def _has_variable(process: int) -> bool:
    try:
        return process != 0 and f"{VARIABLE}=".encode() in Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return False
