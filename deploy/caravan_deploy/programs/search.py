"""The order in which a program is looked for, and the words that say where it came from."""

import re
import shutil
import subprocess
from pathlib import Path

from caravan_deploy.layout import REPOSITORY, cache_folder
from caravan_deploy.processes import clean_environment
from caravan_deploy.programs.build import build
from caravan_deploy.programs.pins import PINS, Pin
from caravan_deploy.programs.release import download
from caravan_deploy.progress import say, step

_VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+)\b")


def find_programs(checkout: Path = REPOSITORY) -> dict[str, Path]:
    """Return where each pinned program is, by name; fetches or builds what is missing. Takes minutes the first time."""
    return {pin.name: find_program(pin, checkout) for pin in PINS}


def find_program(pin: Pin, checkout: Path = REPOSITORY) -> Path:
    """Return the program from the first place that has it at the pinned version. Raises SetupError when none has."""
    on_path = shutil.which(pin.name)
    if on_path is not None and _version(Path(on_path)) == pin.version:
        say(f"  {pin.name} {pin.version}: {on_path} (on PATH)")
        return Path(on_path)
    cached = cache_folder() / "bin" / pin.file_name
    if cached.exists():
        say(f"  {pin.name} {pin.version}: {cached} (cached)")
        return cached
    cached.parent.mkdir(parents=True, exist_ok=True)
    with step(f"{pin.name} {pin.version}: asking for the release archive") as close:
        released = download(pin, cached)
        close(f"{pin.name} {pin.version}: " + ("release archive, checksum right" if released else "no release archive"))
    if not released:
        with step(f"{pin.name} {pin.version}: building, about {pin.minutes} minutes on two cores") as close:
            build(pin, cached, checkout)
            close(f"{pin.name} {pin.version}: built from tools/{pin.name}/go.mod")
    return cached


def _version(program: Path) -> str | None:
    try:
        answer = subprocess.run(
            [str(program), "version"], capture_output=True, text=True, timeout=20, env=clean_environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout + answer.stderr)
    return found.group(1) if found else None
