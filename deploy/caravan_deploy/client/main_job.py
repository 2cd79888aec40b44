"""The main job: the official client uploads a script and input, runs it as a batch session, fetches its result."""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import Layout
from caravan_deploy.platform.admin import Admin
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.processes import clean_environment
from caravan_deploy.progress import say, wait_for

FOLDER = "data"
HOST = "local:volume1"
SESSION = "train"
EXAMPLE = Path("examples/main-job")
COMMAND_LIMIT = 120.0
SESSION_LIMIT = 90.0
LOOKED_AT = "session_id,status,result"
ENDED = frozenset({"TERMINATED", "ERROR", "CANCELLED"})
_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Client:
    """The official client as one user of one Caravan; ``home`` keeps what it writes out of the caller's."""

    program: Path
    layout: Layout
    admin: Admin
    home: Path

    def run(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command of the client and return how it ended. Raises SetupError when it does not end in time."""
        environment = clean_environment() | {
            "HOME": str(self.home),
            "BACKEND_ENDPOINT": self.layout.endpoint,
            "BACKEND_ENDPOINT_TYPE": "api",
            "BACKEND_ACCESS_KEY": self.admin.access_key,
            "BACKEND_SECRET_KEY": self.admin.secret_key,
        }
        try:
            return subprocess.run(
                [str(self.program), *arguments],
                env=environment,
                cwd=folder or self.home,
                capture_output=True,
                text=True,
                timeout=COMMAND_LIMIT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            shown = shlex.join(arguments)
            raise SetupError(f"`backend.ai {shown}` did not end within {COMMAND_LIMIT:.0f} s.") from error

    def must(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that must succeed and show it. Raises SetupError with its output."""
        shown = shlex.join(arguments)
        say(f"  $ backend.ai {shown}")
        ended = self.run(*arguments, folder=folder)
        if ended.returncode != 0:
            raise SetupError(f"`backend.ai {shown}` failed: {(ended.stdout + ended.stderr).strip()[-800:]}")
        return ended


def run_main_job(client: Client, checkout: Path) -> str:
    """Return the text of the result that the container computed. Raises SetupError when a step fails."""
    example = checkout / EXAMPLE
    if client.run("vfolder", "info", FOLDER).returncode != 0:
        client.must("vfolder", "create", FOLDER, HOST)
    client.must("vfolder", "upload", FOLDER, "train.py", "input.csv", folder=example)
    made = client.must(
        *("session", "create", "--type", "batch", "--startup-command", f"python3 /home/work/{FOLDER}/train.py"),
        *("-v", FOLDER, "-r", "cpu=1", "-r", "mem=256m", "--name", SESSION, REFERENCE),
    )
    found = _SESSION_ID.search(made.stdout + made.stderr)
    if found is None:
        raise SetupError(f"the client named no session: {(made.stdout + made.stderr).strip()}")
    _wait_for_success(client, found.group())
    say(_indented(client.must("session", "logs", SESSION).stdout))
    result = client.home / "result.json"
    result.unlink(missing_ok=True)
    client.must("vfolder", "download", FOLDER, result.name, folder=client.home)
    return result.read_text(encoding="utf-8")


def _wait_for_success(client: Client, session: str) -> None:
    """Return when the batch session has ended well. Raises SetupError with its log when it has not."""

    def ended() -> tuple[str, str] | None:
        status, result = _look(client, session)
        return (status, result) if status in ENDED else None

    say(f"  $ backend.ai session list --status ALL    (until {SESSION} has ended)")
    status, result = wait_for(f"the session {SESSION} ({session}) did not end", ended, SESSION_LIMIT, pause=0.5)
    say(f"  {SESSION}: {status}, result {result}")
    if (status, result.upper()) != ("TERMINATED", "SUCCESS"):
        log = client.run("session", "logs", session).stdout
        raise SetupError(f"the session {SESSION} ended as {status} with result {result}: {log.strip()[-500:]}")


def _look(client: Client, session: str) -> tuple[str, str]:
    ended = client.run("--output", "json", "session", "list", "--all", "--limit", "50", "-f", LOOKED_AT)
    if ended.returncode != 0:
        raise SetupError(f"`backend.ai session list` failed: {(ended.stdout + ended.stderr).strip()[-500:]}")
    for item in json.loads(ended.stdout)["items"]:
        if item["session_id"] == session:
            return str(item["status"]), str(item["result"])
    return "unknown", "undefined"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
