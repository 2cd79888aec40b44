"""A virtual environment for each version of the official client, kept per user, with the Python that it wants."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import CLIENT_VERSION, cache_folder, client_folder
from caravan_deploy.progress import step

PYTHONS = {"23.9.10": "3.11", "24.9.14": "3.12", "25.5.2": "3.12", "26.9.6": "3.13"}
"""The versions of the client, and the Python that each wants exactly."""
_REQUIREMENTS = Path(__file__).parent / "requirements"


class MissingPythonError(SetupError):
    """No interpreter of the version that a client wants runs here, and none could be had."""


def ensure_client(version: str = CLIENT_VERSION) -> Path:
    """Return the client's program `backend.ai`; installed the first time. Raises MissingPythonError."""
    folder = client_folder(version).parent
    requirements = _REQUIREMENTS / f"{version}.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    complete = folder / ".complete"
    with _alone(folder):
        if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
            with step(f"official client {version}: installing it in {folder}"):
                _install(folder, requirements, version)
                complete.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "backend.ai"


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other processes from installing the same client meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path, requirements: Path, version: str) -> None:
    uv, python = _ensure_uv(), folder / "bin" / "python"
    if not _succeeds([str(python), "-c", _probe(PYTHONS[version])]):
        shutil.rmtree(folder, ignore_errors=True)
        _run([str(uv), "venv", "--quiet", "--python", _find_python(uv, version), str(folder)])
    _run([str(uv), "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)])


def _probe(python: str) -> str:
    return f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {tuple(map(int, python.split('.')))})"


def _find_python(uv: Path, version: str) -> str:
    """Return an interpreter that really runs: names on PATH may be shims that fail."""
    python = PYTHONS[version]
    of_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{python}*/bin/python"))
    for candidate in (sys.executable, f"python{python}", *map(str, of_pyenv)):
        if _succeeds([candidate, "-c", _probe(python)]):
            return candidate
    if _succeeds([str(uv), "python", "install", "--quiet", python], limit=300):
        return python
    raise MissingPythonError(
        f"the official client {version} needs Python {python}, which neither PATH nor ~/.pyenv has and "
        f"`uv python install {python}` could not get: install it and try again."
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
