"""Docker's daemon: taken as it is where one answers, else started, and stopped with the last stack that uses it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import Layout
from caravan_deploy.processes import Daemon, clean_environment
from caravan_deploy.progress import wait_for

CLUSTER_LABEL = "ai.caravan.cluster"
SHARED = Path("/run/caravan")
ADDRESS_POOL = "base=10.64.0.0/12,size=24"


def docker(*arguments: str, limit: float = 60) -> str:
    """Return what the docker command prints. Raises SetupError with its message."""
    ended = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        timeout=limit,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if ended.returncode != 0:
        raise SetupError(f"docker {arguments[0]} failed: {ended.stderr.strip()}")
    return ended.stdout.strip()


def docker_answers() -> bool:
    """Say whether a daemon answers on the usual socket."""
    if shutil.which("docker") is None:
        return False
    with suppress(SetupError, subprocess.TimeoutExpired):
        docker("version", "--format", "{{.Server.Version}}", limit=10)
        return True
    return False


def dockerd_daemon() -> Daemon:
    """Return the machine's one daemon of ours; all stacks share it."""
    command = ["dockerd", "--storage-driver=overlay2", f"--default-address-pool={ADDRESS_POOL}"]
    return Daemon("dockerd", command, SHARED / "dockerd.pid", SHARED / "dockerd.log")


def start_docker(layout: Layout) -> None:
    """See to it that a daemon answers, and note that this stack uses it. Raises SetupError on a machine without one."""
    SHARED.mkdir(mode=0o755, exist_ok=True)
    _mark(layout).write_text(f"{layout.run}\n", encoding="utf-8")
    if docker_answers():
        return
    if shutil.which("dockerd") is None or shutil.which("docker") is None:
        raise SetupError("this machine has no Docker: install Debian's package docker.io, or run `make up` as root.")
    if Path("/run/systemd/system").exists() and _started_by_systemd():
        return
    daemon = dockerd_daemon()
    daemon.start()

    def ready() -> bool | None:
        daemon.must_run()
        return True if docker_answers() else None

    wait_for(f"dockerd does not answer ({daemon.log})", ready, 60, pause=0.3)


def leave_docker(layout: Layout) -> None:
    """Forget this stack's use of the daemon; one that we started is stopped when no other stack uses it."""
    _mark(layout).unlink(missing_ok=True)
    if dockerd_daemon().pid() is not None and not any(_users()):
        dockerd_daemon().stop(patience=30)


def remove_leftovers(layout: Layout) -> None:
    """Remove the networks that carry this stack's label, and the sessions' containers in them."""
    if not docker_answers():
        return
    networks = docker("network", "ls", "-q", "--filter", f"label={CLUSTER_LABEL}={layout.name}").split()
    inside = [word for network in networks for word in ("--filter", f"network={network}")]
    containers = docker("ps", "-aq", *inside).split() if networks else []
    if containers:
        docker("rm", "-f", *containers, limit=120)
    if networks:
        docker("network", "rm", *networks)


def _started_by_systemd() -> bool:
    subprocess.run(["systemctl", "start", "docker"], capture_output=True, timeout=90, check=False)
    return docker_answers()


def _mark(layout: Layout) -> Path:
    return SHARED / f"{layout.name}.user"


def _users() -> Iterator[str]:
    """Give the stacks that use the daemon and still run (their Nomad does)."""
    for mark in SHARED.glob("*.user"):
        folder = Path(mark.read_text(encoding="utf-8").strip())
        if Daemon("nomad", [], folder / "nomad.pid", folder / "nomad.log").pid() is not None:
            yield mark.stem
