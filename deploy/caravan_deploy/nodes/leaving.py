"""A machine that joined stops its part: Nomad drains it, so that its sessions end in order, then the rest stops."""

import shutil
import signal

from caravan_deploy.layout import NOWHERE, Layout
from caravan_deploy.processes import orphans_of, stop_orphans
from caravan_deploy.progress import say, step
from caravan_deploy.servers.consul import consul_daemon
from caravan_deploy.servers.docker import CLUSTER_LABEL, docker, docker_answers
from caravan_deploy.servers.machine import machine_daemon
from caravan_deploy.servers.nomad import nomad_daemon

DRAIN_PATIENCE = 90.0


def stop_machine(layout: Layout) -> None:
    """Stop Nomad's client, Consul's agent and Vault's agent. Harmless when nothing runs."""
    nomad, others = nomad_daemon(layout, NOWHERE), (consul_daemon(layout, NOWHERE), machine_daemon(layout, NOWHERE))
    if nomad.pid() is not None:
        with step("Nomad's client drained and stopped"):
            nomad.stop(DRAIN_PATIENCE, by=signal.SIGINT)
    if orphans_of(layout.data / "nomad"):
        with step("tasks that outlived Nomad stopped"):
            stop_orphans(layout.data / "nomad")
    for daemon in others:
        if daemon.pid() is not None:
            with step(f"{daemon.name} stopped"):
                daemon.stop()


def forget_node(layout: Layout) -> None:
    """Forget what Nomad knew: a drained node gets no more jobs, so the machine comes back as a new one of its name."""
    shutil.rmtree(layout.data / "nomad", ignore_errors=True)


def sessions_here(layout: Layout) -> int:
    """Return how many sessions have a container on this machine."""
    if not docker_answers():
        return 0
    networks = docker("network", "ls", "-q", "--filter", f"label={CLUSTER_LABEL}={layout.name}").split()
    return sum(bool(docker("ps", "-q", "--filter", f"network={network}")) for network in networks)


def tell_farewell(layout: Layout) -> None:
    """Say what is left to do on the server."""
    say(f"this machine has left. On the server, `make expel NODE={layout.node_name}` takes its credentials back.")
