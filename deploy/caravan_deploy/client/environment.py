"""A virtual environment of its own for the official client, kept per user; it wants Python 3.12 exactly."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import CLIENT_VERSION, cache_folder, client_folder
from caravan_deploy.progress import step

PYTHON = "3.12"
REQUIREMENT = f"backend.ai-client=={CLIENT_VERSION}"
_PROBE = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {tuple(map(int, PYTHON.split('.')))})"


def ensure_client() -> Path:
    """Return the client's program `backend.ai`; installed the first time. Raises SetupError without Python 3.12."""
    folder = client_folder().parent
    complete = folder / ".complete"
    if not complete.exists():
        with step(f"official client {CLIENT_VERSION}: installing it in {folder}"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            uv = _ensure_uv()
            _run([str(uv), "venv", "--quiet", "--python", _find_python(uv), str(folder)])
            _run([str(uv), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), REQUIREMENT])
            complete.touch()
    return folder / "bin" / "backend.ai"


def _find_python(uv: Path) -> str:
    """Return an interpreter that really runs: names on PATH may be shims that fail."""
    of_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{PYTHON}*/bin/python"))
    candidates = [sys.executable, f"python{PYTHON}", *map(str, of_pyenv)]
    for candidate in candidates:
        if _succeeds([candidate, "-c", _PROBE]):
            return candidate
    if _succeeds([str(uv), "python", "install", "--quiet", PYTHON], limit=300):
        return PYTHON
    raise SetupError(
        f"the stack is up, but the official client {CLIENT_VERSION} needs Python {PYTHON}, which neither PATH nor "
        f"~/.pyenv has and `uv python install {PYTHON}` could not get: install it and run `make up` again."
    )


def _ensure_uv() -> Path:
    """Return uv from the per-user environment that `deploy/provision/python.sh` makes too."""
    folder = cache_folder() / "uv"
    program = folder / "bin" / "uv"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"])
    return program


def _succeeds(command: list[str], limit: float = 30) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=limit, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed: {ended.stderr.strip()[-500:]}")
