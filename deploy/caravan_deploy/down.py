"""Take a stack down, however far it came up: jobs, then the servers; data stays unless `clean` removes it."""

import shutil
import subprocess
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import NOWHERE, Layout
from caravan_deploy.nodes.leaving import forget_node, stop_machine
from caravan_deploy.platform.jobs import Platform
from caravan_deploy.processes import orphans_of, stop_orphans
from caravan_deploy.progress import say, step
from caravan_deploy.servers.consul import consul_api, consul_daemon
from caravan_deploy.servers.docker import leave_docker, remove_leftovers
from caravan_deploy.servers.machine import machine_daemon
from caravan_deploy.servers.nomad import nomad_api, nomad_daemon
from caravan_deploy.servers.tokens import load_tokens
from caravan_deploy.servers.vault import vault_daemon


def take_down(layout: Layout) -> None:
    """Stop everything of the stack; its data stays. Harmless when nothing runs."""
    if not layout.saved.exists():
        say(f"nothing to stop: there is no stack at {layout.root}.")
        return
    if layout.has_joined:
        stop_machine(layout)
    else:
        _stop_server(layout)
    remove_leftovers(layout)
    _unmount_below(layout.root)
    if layout.has_joined:
        forget_node(layout)
    leave_docker(layout)


def _stop_server(layout: Layout) -> None:
    nomad = nomad_daemon(layout, NOWHERE)
    daemons = (nomad, *(daemon(layout, NOWHERE) for daemon in (machine_daemon, vault_daemon, consul_daemon)))
    running = [daemon for daemon in daemons if daemon.pid() is not None]
    if not running:
        say("nothing runs; the data is kept.")
    if nomad in running:
        _stop_jobs(layout)
    for daemon in running:
        with step(f"{daemon.name} stopped"):
            daemon.stop()
    if orphans_of(layout.data / "nomad"):
        with step("tasks that outlived Nomad stopped"):
            stop_orphans(layout.data / "nomad")


def clean(layout: Layout) -> None:
    """Take the stack down and remove its folder with all data, secrets and logs."""
    take_down(layout)
    if layout.root.exists():
        _unmount_below(layout.root)
        shutil.rmtree(layout.root)
        say(f"{layout.root} removed; programs, kernel images and the client stay in the user's cache.")


def _unmount_below(root: Path) -> None:
    """Unmount what tasks left mounted, their secrets above all: as after a reboot, and nothing lies behind a mount."""
    rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    targets = [row.split()[4].replace("\\040", " ") for row in rows]
    for target in sorted((t for t in targets if Path(t).is_relative_to(root)), key=len, reverse=True):
        ended = subprocess.run(["umount", "--lazy", target], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise SetupError(f"cannot unmount {target}: {ended.stderr.strip()}")


def _stop_jobs(layout: Layout) -> None:
    tokens = load_tokens(layout)
    try:
        with step("jobs stopped"):
            Platform(layout, nomad_api(layout, tokens), consul_api(layout, tokens)).stop_all()
    except SetupError as error:
        say(f"  jobs could not all be stopped in order ({error}); the servers are stopped all the same.")
