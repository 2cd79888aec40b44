"""A stack with a second machine (namespaces with a dockerd of their own), and the wire between the two."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.conftest import User
from tests.integration.cluster.wire import Wire

from caravan_deploy.processes import clean_environment
from caravan_deploy.second import Stack, second_stack

NODE = "client1"
SERVER_CPUS = 2
LIMIT_SECONDS = 240
# What a machine has for itself besides its network: sockets and process IDs in /run, and Docker's data.
OWN_FOLDERS = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount --bind "$1" /var/lib/docker
echo ready
exec sleep infinity
"""


@dataclass
class Machine:
    """The second machine: everything in it is real but the kernel, which it shares."""

    holder: "subprocess.Popen[str]"
    address: str
    root: Path
    program: Path

    def run(self, *words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command there."""
        return subprocess.run(
            ["nsenter", "--mount", "--net", "--target", str(self.holder.pid), *map(str, words)],
            env=clean_environment() | {"HOME": str(Path.home())} | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            stdin=subprocess.DEVNULL,
        )

    def caravan_stack(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run Caravan's command there, on that machine's part of the stack."""
        return self.run(self.program, "--root", self.root, *words, **environment)

    def containers(self) -> list[str]:
        """Return the names of all containers there."""
        return self.run("docker", "ps", "--all", "--format", "{{.Names}}").stdout.split()


@dataclass
class Cluster:
    """The stack, its second machine, and the wire that nobody else is on."""

    stack: Stack
    machine: Machine
    wire: Wire

    def on_server(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run Caravan's command on the server."""
        command = [self.machine.program, "--root", self.stack.layout.root, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)

    def invited(self) -> str:
        """Return a join token for the machine."""
        printed = self.on_server("invite", NODE)
        assert printed.returncode == 0, printed.stderr
        return printed.stdout.partition("TOKEN=")[2].strip()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def pair() -> Generator[tuple[str, str, str, str]]:
    """Give two interfaces that are joined by a wire, and the address of each."""
    here, there = f"cva{os.getpid()}", f"cvb{os.getpid()}"
    block = os.getpid() % 16384 * 4
    first, second = (f"10.251.{(block + n) // 256}.{(block + n) % 256}" for n in (1, 2))
    _ip("link", "add", here, "type", "veth", "peer", "name", there)
    try:
        _ip("address", "add", f"{first}/30", "dev", here)
        _ip("link", "set", here, "up")
        yield here, there, first, second
    finally:  # it is gone with the machine's namespace, where there was one
        subprocess.run(["ip", "link", "delete", here], capture_output=True)


@pytest.fixture(scope="module")
def machine(pair: tuple[str, str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    """Give an empty second machine at the other end of the wire."""
    _, there, _, address = pair
    folder = tmp_path_factory.mktemp("machine")
    docker = folder / "docker"
    docker.mkdir()
    Path("/var/lib/docker").mkdir(parents=True, exist_ok=True)
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", OWN_FOLDERS, "sh", str(docker)], stdout=subprocess.PIPE, text=True
    )
    program = Path(shutil.which("caravan-stack", path=str(Path(sys.executable).parent)) or "")
    second = Machine(holder, address, folder / "root", program)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        _ip("link", "set", there, "netns", str(holder.pid))
        for words in (("link", "set", "lo", "up"), ("address", "add", f"{address}/30", "dev", there)):
            assert second.run("ip", *words).returncode == 0
        assert second.run("ip", "link", "set", there, "up").returncode == 0
        yield second
        second.caravan_stack("clean")
    finally:
        holder.kill()
        holder.communicate()
        shutil.rmtree(docker, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(pair: tuple[str, str, str, str], machine: Machine) -> Generator[Cluster]:
    """Give a small server that the machine may join, all of it listened to from its first moment."""
    here, _, first, _ = pair
    with Wire(here) as wire, second_stack(address=first, cpus=SERVER_CPUS) as stack:
        yield Cluster(stack, machine, wire)


@pytest.fixture
def user(cluster: Cluster, tmp_path: Path) -> User:
    """Return the first admin with the official client."""
    return User(cluster.stack.client(tmp_path))


@pytest.fixture
def image(cluster: Cluster) -> str:
    """Return the kernel image's reference."""
    return f"{cluster.stack.image.name}:{cluster.stack.image.tag}"
