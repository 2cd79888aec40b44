"""Backend.AI's selector and sequencer as the other arm: its manager in a per-user environment, a child process."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from caravan_deploy.layout import cache_folder

VERSION = "26.9.6"
PYTHON = "3.13"
LIMIT_SECONDS = 900.0
_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / f"backendai-{VERSION}.txt"


class MissingPeerError(Exception):
    """The manager of Backend.AI cannot be had here: no Python that it wants, or no way to its packages."""


def ask(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let Backend.AI's code do a task of `backendai_arm.py`; the folder takes the file. Raises MissingPeerError."""
    python = ensure_manager()
    question = folder / "task.json"
    question.write_text(json.dumps(task), encoding="utf-8")
    command = [str(python), str(_HERE / "backendai_arm.py"), str(question)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    if ended.returncode != 0:
        raise AssertionError(f"Backend.AI's arm failed: {ended.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def ensure_manager() -> Path:
    """Return the Python that has the manager; installed the first time. Raises MissingPeerError."""
    folder = cache_folder() / "peer" / f"manager-{VERSION}"
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    complete, python = folder / ".complete", folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            uv = cache_folder() / "uv" / "bin" / "uv"
            _run([str(uv), "venv", "--quiet", "--python", _find_python(), str(folder)])
            _run([str(uv), "pip", "install", "--quiet", "--python", str(python), "-r", str(_REQUIREMENTS)])
            complete.write_text(wanted, encoding="utf-8")
    return python


def _find_python() -> str:
    """Return an interpreter that really runs: names on PATH may be shims that fail."""
    of_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{PYTHON}*/bin/python"))
    for candidate in (sys.executable, f"python{PYTHON}", *map(str, of_pyenv)):
        try:
            probe = "import sys; print('%d.%d' % sys.version_info[:2])"
            said = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, timeout=30).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if said.strip() == PYTHON:
            return candidate
    raise MissingPeerError(f"Backend.AI's manager {VERSION} wants Python {PYTHON}: none runs on PATH or in ~/.pyenv")


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise MissingPeerError(f"`{' '.join(command[:3])}` failed: {ended.stderr.strip()[-300:]}")
