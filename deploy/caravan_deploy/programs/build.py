"""Build a program from its pinned module: the last way, for machines that no release archive reaches."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.programs.pins import Pin

OLDEST_GO = (1, 25)
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/snap/bin/go")


def build(pin: Pin, target: Path, checkout: Path) -> None:
    """Build the program to ``target``. Raises SetupError without Go or when the build fails."""
    go = _find_go(pin)
    partial = target.with_suffix(f".partial-{os.getpid()}")
    log = target.with_suffix(".build-log")
    command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-tags", pin.tags, "-o", str(partial), pin.module]
    with log.open("wb") as output:
        ended = subprocess.run(
            command, cwd=checkout / "tools" / pin.name, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode != 0:
        partial.unlink(missing_ok=True)
        raise SetupError(f"building {pin.name} {pin.version} failed, {log} says why.")
    partial.replace(target)
    log.unlink()


def _find_go(pin: Pin) -> str:
    oldest = ".".join(map(str, OLDEST_GO))
    for candidate in (shutil.which("go"), *USUAL_PLACES):
        if candidate is not None and Path(candidate).exists() and _go_version(candidate) >= OLDEST_GO:
            return candidate
    raise SetupError(
        f"{pin.name} {pin.version} is neither on PATH nor to be downloaded, and building it needs Go {oldest}: "
        "put the one or the other on PATH."
    )


def _go_version(go: str) -> tuple[int, int]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
