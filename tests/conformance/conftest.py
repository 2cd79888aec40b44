"""The official client as a user of the tests' stack, and what is left on the machine when a session is over."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.records import Answer, Caller, Request

from caravan_deploy.client.environment import MissingPythonError
from caravan_deploy.client.main_job import Client
from caravan_deploy.layout import cache_folder
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack

LIMIT_SECONDS = 60.0
JSON = {"Content-Type": "application/json", "X-BackendAI-Version": "v8.20240915"}
LISTED = "{ compute_session_list(limit: 100, offset: 0) { items { name status } } }"
NPM = Path(__file__).parent / "npm"


@dataclass(frozen=True)
class User:
    """Types commands of the official client, and reads what they print."""

    client: Client

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

    def sessions(self, status: str = "ALL") -> list[dict[str, Any]]:
        """Return the user's sessions, newest first."""
        fields = "name,session_id,status,result,status_info,status_data"
        scope = ["--all"] if status == "ALL" else ["--status", status]
        listed = self.run("--output", "json", "session", "list", *scope, "--limit", "100", "-f", fields)
        items: list[dict[str, Any]] = json.loads(listed.stdout)["items"]
        return items

    def session(self, name: str) -> dict[str, Any]:
        """Return the newest session of a name."""
        return next(session for session in self.sessions() if session["name"] == name)

    def ask(self, method: str, path: str, body: object) -> Answer:
        """Send one signed request without the client, whose start alone takes longer than a second."""
        admin = self.client.admin
        caller = Caller(self.client.layout.endpoint, admin.access_key, admin.secret_key)
        return caller.send(Request(method, path, JSON, json.dumps(body).encode()))

    def statuses(self) -> dict[str, str]:
        """Return the status of the newest session of each name."""
        answer = self.ask("POST", "/admin/gql", {"query": LISTED, "variables": {}})
        newest_first = answer.body["data"]["compute_session_list"]["items"]
        return {item["name"]: item["status"] for item in reversed(newest_first)}

    def until(self, name: str, *statuses: str) -> dict[str, Any]:
        """Wait until the session is in one of the statuses, and return it as the client shows it."""
        eventually(lambda: self.statuses()[name] in statuses)
        return self.session(name)


def eventually(look: Callable[[], Any], limit: float = LIMIT_SECONDS) -> Any:
    """Look until there is an answer. Fails after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.25)
    pytest.fail(f"it did not happen within {limit:.0f} s; last seen: {look()!r}")


@pytest.fixture
def user(stack: Stack, tmp_path: Path) -> User:
    """The first administrator, with the official client 25.5.2."""
    return User(stack.client(tmp_path))


def user_with(version: str, stack: Stack, home: Path) -> User:
    """The first administrator, with another version of the official client; skips where its Python is not to be had."""
    try:
        return User(stack.client(home, version))
    except MissingPythonError as err:
        pytest.skip(str(err))


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
        return [*self._docker("container", "ps", "-a"), *self._docker("network", "network", "ls"), *self._files()]

    def _docker(self, kind: str, *command: str) -> list[str]:
        label = "ai.caravan.session" if kind == "container" else f"ai.caravan.cluster={self.stack.layout.name}"
        listed = subprocess.run(
            ["docker", *command, "--filter", f"label={label}", "--format", "{{.ID}}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [f"{kind} {line}" for line in listed.stdout.split()]

    def _files(self) -> list[str]:
        scratches = self.stack.layout.agent_state / "scratches"
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        found = [f"folder {path}" for path in scratches.glob("*")]
        return found + [f"mount {mount}" for mount in mounts if mount.startswith(str(scratches))]


@pytest.fixture
def leftovers(stack: Stack) -> Leftovers:
    """Finds what sessions left behind."""
    return Leftovers(stack)
