"""The kernel image of the first session: Python on Debian bookworm, pulled where a registry answers, else built."""

import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import cache_folder
from caravan_deploy.processes import clean_environment
from caravan_deploy.progress import step
from caravan_deploy.servers.docker import docker

NAME = "caravan/python"
TAG = "3.11-bookworm"
REFERENCE = f"{NAME}:{TAG}"
UPSTREAM = "python:3.11-slim-bookworm"
SUITE = "bookworm"
PACKAGES = "python3"
PULL_LIMIT = 600.0
BUILD_LIMIT = 900.0
_LABELS = {
    "ai.backend.kernelspec": "1",
    "ai.backend.role": "COMPUTE",
    "ai.backend.runtime-type": "python",
    "ai.backend.resource.min.cpu": "1",
    "ai.backend.resource.min.mem": "64m",
    "ai.backend.base-distro": "debian12",
    "ai.backend.service-ports": "",
    "ai.backend.features": "batch",
}


@dataclass(frozen=True, slots=True)
class KernelImage:
    """The image as Docker holds it: what the manager must know of it."""

    name: str
    tag: str
    architecture: str
    digest: str
    size_bytes: int
    labels: dict[str, str]


def ensure_image() -> KernelImage:
    """Return the kernel image; it is made the first time, from a registry or with debootstrap (about two minutes)."""
    if not _is_there():
        with step(f"kernel image {REFERENCE}: asking a registry for {UPSTREAM}") as close:
            pulled = _pull()
            close(f"kernel image {REFERENCE}: " + (f"pulled {UPSTREAM}" if pulled else "no registry answers"))
        if not pulled:
            with step(f"kernel image {REFERENCE}: building with debootstrap, up to two minutes") as close:
                _import(_root_file_system())
                close(f"kernel image {REFERENCE}: built from Debian's packages")
    digest, _, size = docker("image", "inspect", "--format", "{{.Id}} {{.Size}}", REFERENCE).partition(" ")
    runtime_path = docker(
        "image", "inspect", "--format", '{{index .Config.Labels "ai.backend.runtime-path"}}', REFERENCE
    )
    labels = _LABELS | {"ai.backend.runtime-path": runtime_path}
    return KernelImage(NAME, TAG, platform.machine(), digest, int(size), labels)


def _is_there() -> bool:
    return bool(docker("image", "ls", "-q", REFERENCE))


def _changes(runtime_path: str) -> list[str]:
    labels = _LABELS | {"ai.backend.runtime-path": runtime_path}
    lines = [f'LABEL {name}="{value}"' for name, value in labels.items()]
    return [word for line in [*lines, 'CMD ["python3"]', "ENV LANG=C.UTF-8"] for word in ("--change", line)]


def _pull() -> bool:
    """Pull the upstream image and lay our labels over it; False when no registry answers."""
    try:
        docker("pull", "--quiet", UPSTREAM, limit=PULL_LIMIT)
    except (SetupError, subprocess.TimeoutExpired):
        return False
    container = docker("create", UPSTREAM)
    try:
        docker("commit", *_changes("/usr/local/bin/python3"), container, REFERENCE)
    finally:
        docker("rm", container)
    return True


def _import(tarball: Path) -> None:
    docker("import", *_changes("/usr/bin/python3"), str(tarball), REFERENCE, limit=300)


def _root_file_system() -> Path:
    """Return the tarball of a minimal Debian with Python, from the user's cache or made by debootstrap."""
    folder = cache_folder() / "images"
    tarball = folder / f"python-{TAG}-{platform.machine()}.tar"
    if tarball.exists():
        return tarball
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise SetupError(
            f"no registry answers for {UPSTREAM}, and building the image needs root and Debian's package debootstrap."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as building:
        tree = Path(building) / "tree"
        log = folder / "debootstrap.log"
        _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree), _mirror()], log)
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / unneeded, ignore_errors=True)
        partial = Path(building) / "tree.tar"
        _run(["tar", "--numeric-owner", "-C", str(tree), "-cf", str(partial), "."], log)
        partial.replace(tarball)
    return tarball


def _run(command: list[str], log: Path) -> None:
    with log.open("ab") as output:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment() | _proxies(),
            timeout=BUILD_LIMIT,
            check=False,
        )
    if ended.returncode != 0:
        raise SetupError(f"{command[0]} failed while building the kernel image, {log} says why.")


def _proxies() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {name: os.environ[name] for name in names if name in os.environ}


def _mirror() -> str:
    """Return the mirror of Debian that this machine's own apt uses, one with the image's suite first."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    offers = [line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line]
    fitting = sorted({uri for codename, uri in offers if codename == SUITE})
    if not fitting:
        raise SetupError(f"apt on this machine knows no mirror of Debian {SUITE}; add one to build the kernel image.")
    return fitting[0]
