"""The official client as a user of the tests' stack, and what is left on the machine when a session is over."""

import asyncio
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conformance.records import Answer, Caller, Request
from tests.conformance.started.client import started

from caravan_deploy.client.environment import PYTHONS, MissingPythonError
from caravan_deploy.client.main_job import Client
from caravan_deploy.layout import CLIENT_VERSION, cache_folder
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack

LIMIT_SECONDS = 60.0
JSON = {"Content-Type": "application/json", "X-BackendAI-Version": "v8.20240915"}
LISTED = """{ compute_session_list(limit: 100, offset: 0) {
    items { name session_id status result status_info status_data main_kernel_id }
} }"""
NPM = Path(__file__).parent / "npm"
VERSIONS = [
    CLIENT_VERSION,
    *(pytest.param(version, marks=pytest.mark.slow) for version in PYTHONS if version != CLIENT_VERSION),
]
"""The versions of the official client; every journey is made with each of them, in every run with the first."""


@dataclass(frozen=True)
class User:
    """Types commands of the official client, and reads what they print."""

    client: Client
    version: str = CLIENT_VERSION

    def own(self, name: str) -> str:
        """Return a folder's name that the other versions' journeys do not use."""
        return name if self.version == CLIENT_VERSION else f"{name}-{self.version.replace('.', '-')}"

    def run(self, *arguments: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command, whatever becomes of it."""
        return self.client.run(*arguments, folder=folder)

    def must(self, *arguments: str, folder: Path | None = None) -> str:
        """Run a command that must succeed; returns all that it printed."""
        ended = self.run(*arguments, folder=folder)
        assert ended.returncode == 0, f"backend.ai {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
        return ended.stdout + ended.stderr

    def refused(self, *arguments: str) -> str:
        """Run a command that must fail; returns what it printed."""
        ended = self.run(*arguments)
        assert ended.returncode != 0, f"backend.ai {' '.join(arguments)} succeeded: {ended.stdout}"
        return ended.stdout + ended.stderr

    def knows(self, version: str) -> bool:
        """Whether the client knows what came with the version, such as 24.9."""
        return [int(part) for part in self.version.split(".")][:2] >= [int(part) for part in version.split(".")]

    def needs(self, version: str) -> None:
        """Skip the test with a client that is older than what it is about."""
        if not self.knows(version):
            pytest.skip(f"the client {self.version} has no option for it")

    def parent(self, name: str) -> str:
        """Return what `--depends` takes for the newest session of a name: since 26.9 an ID only."""
        return name if not self.knows("26.9") else str(self.session(name)["session_id"])

    def sessions(self) -> list[dict[str, Any]]:
        """Return the user's sessions, newest first."""
        answer = self.ask("POST", "/admin/gql", {"query": LISTED, "variables": {}})
        items: list[dict[str, Any]] = answer.body["data"]["compute_session_list"]["items"]
        return [item | {"status_data": json.loads(item["status_data"] or "{}")} for item in items]

    def session(self, name: str) -> dict[str, Any]:
        """Return the newest session of a name."""
        return next(session for session in self.sessions() if session["name"] == name)

    def ask(self, method: str, path: str, body: object) -> Answer:
        """Send one signed request without the client, whose start alone takes longer than a second."""
        admin = self.client.admin
        caller = Caller(self.client.layout.endpoint, admin.access_key, admin.secret_key)
        return caller.send(Request(method, path, JSON, json.dumps(body).encode()))

    def change(self, mutation: str, **variables: object) -> dict[str, Any]:
        """Send a mutation without the client, and return what its only field answers."""
        (answer,) = self.ask("POST", "/admin/gql", {"query": mutation, "variables": variables}).body["data"].values()
        return dict(answer)

    def statuses(self) -> dict[str, str]:
        """Return the status of the newest session of each name."""
        return {item["name"]: item["status"] for item in reversed(self.sessions())}

    def until(self, name: str, *statuses: str) -> dict[str, Any]:
        """Wait until the session is in one of the statuses, and return it."""
        eventually(lambda: self.statuses()[name] in statuses)
        return self.session(name)


def eventually(look: Callable[[], Any], limit: float = LIMIT_SECONDS) -> Any:
    """Look until there is an answer. Fails after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail(f"it did not happen within {limit:.0f} s; last seen: {look()!r}")


def sql(stack: Stack, *statements: str) -> None:
    """Change what the manager's database says, as an administrator's tool would."""
    (service,) = stack.servers.consul.call("GET", "/v1/catalog/service/caravan-postgres")
    password = stack.servers.vault.call("GET", "/v1/caravan/data/platform/postgres")["data"]["data"]["password"]

    async def execute() -> None:
        host = service["ServiceAddress"] or service["Address"]
        database = await asyncpg.connect(
            host=host, port=service["ServicePort"], user="caravan", password=password, database="caravan"
        )
        try:
            for statement in statements:
                await database.execute(statement)
        finally:
            await database.close()

    asyncio.run(execute())


@pytest.fixture(scope="session")
def faster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Path]]:
    """Give a program that does what the given one of the official client does, without its second of start."""
    with ExitStack() as servers:
        yield cache(lambda program: servers.enter_context(started(program, tmp_path_factory.mktemp("client"))))


@pytest.fixture(params=VERSIONS)
def user(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path, faster: Callable[[Path], Path]) -> User:
    """The first administrator, with a version of the official client; skips where its Python is not to be had."""
    version: str = request.param
    try:
        client = stack.client(tmp_path, version)
    except MissingPythonError as err:
        pytest.skip(str(err))
    return User(replace(client, program=faster(client.program)), version)


@pytest.fixture(scope="session")
def npm_client() -> Path:
    """The folder with the modules of the official npm client; skips where there is no Node or npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("the npm client needs node and npm on PATH")
    wanted = [NPM / "package.json", NPM / "package-lock.json"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in wanted)).hexdigest()
    folder = cache_folder() / "client" / f"npm-{digest[:16]}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in wanted:
            shutil.copy(file, folder)
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=240)
        (folder / ".complete").touch()
    return folder / "node_modules"


@pytest.fixture(scope="session")
def image() -> str:
    """The image that the stack has."""
    return REFERENCE


@dataclass(frozen=True)
class Leftovers:
    """What sessions could leave on this machine."""

    stack: Stack

    def all(self) -> list[str]:
        """Return a line for each thing of a session that is still there."""
        return [*self._containers(), *self._networks(), *self._files()]

    def _containers(self) -> list[str]:
        mine = f"{self.stack.layout.agent_state}/"
        listed = _docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Mounts}}")
        return [f"container {line}" for line in listed if mine in line]

    def _networks(self) -> list[str]:
        label = f"label=ai.caravan.cluster={self.stack.layout.name}"
        return [f"network {line}" for line in _docker("network", "ls", "--filter", label, "--format", "{{.ID}}")]

    def _files(self) -> list[str]:
        scratches = self.stack.layout.agent_state / "scratches"
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        found = [f"folder {path}" for path in scratches.glob("*")]
        return found + [f"mount {mount}" for mount in mounts if mount.startswith(str(scratches))]


def _docker(*command: str) -> list[str]:
    return subprocess.run(["docker", *command], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def leftovers(stack: Stack) -> Leftovers:
    """Finds what sessions left behind."""
    return Leftovers(stack)
