"""Figures against bars: each bench notes its figures, and the run ends with one line for each bar.

The other arm of some bars is a running manager of Backend.AI 25.5.2, which the environment names: CARAVAN_PEER (its
address, such as http://127.0.0.1:18081), CARAVAN_PEER_ACCESS_KEY and _SECRET_KEY of an administrator without a rate
limit, CARAVAN_PEER_IMAGE, and CARAVAN_PEER_PID of the manager's first process. Without it those bars are not judged.
"""

import os
import tomllib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.bench.signed import Endpoint

from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack, second_stack

Note = Callable[[str], None]
_LINES = pytest.StashKey[list[str]]()

CPUS = 128
MEMORY_MB = 128 * 1024
"""More than the machine has: fifty sessions at once must be a question of speed and not of room."""


@pytest.fixture(scope="session")
def stack() -> Generator[Stack]:
    """A stack of the benches' own, whose node offers more than it has."""
    with second_stack(cpus=CPUS, memory_mb=MEMORY_MB) as running:
        yield running


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Note a line for the end of the run."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lines.append


@pytest.fixture
def bar(note: Note) -> Callable[..., None]:
    """Note whether a figure holds its bar: ``bar(name, figure, most, unit)``."""

    def hold(name: str, figure: float, most: float, unit: str) -> None:
        verdict = "holds" if figure <= most else "falls short"
        note(f"bar: {name} = {figure:.2f} {unit} (goal at most {most:g} {unit}) {verdict}")

    return hold


@pytest.fixture
def floor(note: Note) -> Callable[..., None]:
    """Note whether a figure holds a bar that it must reach: ``floor(name, figure, least, unit)``."""

    def hold(name: str, figure: float, least: float, unit: str) -> None:
        verdict = "holds" if figure >= least else "falls short"
        note(f"bar: {name} = {figure:.2f} {unit} (goal at least {least:g} {unit}) {verdict}")

    return hold


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the lines at the end."""
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)


@dataclass(frozen=True)
class Manager:
    """A manager to load: where it is, an image that it knows, and the process whose CPU time counts."""

    endpoint: Endpoint
    image: str
    process: int


@pytest.fixture
def peer() -> Manager | None:
    """The manager of Backend.AI that the environment names."""
    address = os.environ.get("CARAVAN_PEER")
    if not address:
        return None
    parts = urlsplit(address)
    wanted = {name: os.environ[f"CARAVAN_PEER_{name}"] for name in ("ACCESS_KEY", "SECRET_KEY", "IMAGE", "PID")}
    endpoint = Endpoint(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 80,
        access_key=wanted["ACCESS_KEY"],
        secret_key=wanted["SECRET_KEY"],
    )
    return Manager(endpoint, wanted["IMAGE"], int(wanted["PID"]))


@pytest.fixture
async def ours(stack: Stack) -> Manager:
    """The manager of the stack; its administrator's keypair gets limits that no bench reaches."""
    (config,) = stack.layout.data.glob("nomad/alloc/*/manager/secrets/config.toml")
    database: dict[str, Any] = tomllib.loads(config.read_text())["database"]
    connection = await asyncpg.connect(
        host=database["host"],
        port=database["port"],
        user=database["user"],
        password=database["password"],
        database=database["name"],
    )
    await connection.execute(
        "UPDATE keypairs SET rate_limit = 2000000000 WHERE access_key = $1", stack.admin.access_key
    )
    await connection.execute("UPDATE keypair_resource_policies SET max_concurrent_sessions = 1000")
    await connection.close()
    endpoint = Endpoint("127.0.0.1", stack.layout.ports.manager, stack.admin.access_key, stack.admin.secret_key)
    return Manager(endpoint, REFERENCE, _manager_process(stack))


def _manager_process(stack: Stack) -> int:
    wanted = f"/caravan-manager\0serve\0--config\0{stack.layout.root}/".encode()
    return next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if wanted in _content_of(path))


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
