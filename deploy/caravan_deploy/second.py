"""A whole second stack beside a running one, for tests and trials: own ports, data, Docker labels and networks."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from caravan_deploy.client.environment import ensure_client
from caravan_deploy.client.main_job import Client
from caravan_deploy.down import clean
from caravan_deploy.layout import CLIENT_VERSION, LOOPBACK, REPOSITORY, Layout, Ports, load_layout
from caravan_deploy.platform.admin import Admin
from caravan_deploy.platform.image import KernelImage, ensure_image
from caravan_deploy.ports import BLOCK_SIZE, FIRST_BLOCK, free_block
from caravan_deploy.processes import Daemon
from caravan_deploy.programs import find_programs
from caravan_deploy.servers.tokens import Tokens, load_tokens
from caravan_deploy.up import Servers, start_platform, start_servers

PREFIX = "caravan-test-"
KEEP = "CARAVAN_KEEP_STACK"
CPUS = 16
MEMORY_MB = 16384


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack and what opens it."""

    layout: Layout
    programs: dict[str, Path]
    servers: Servers
    tokens: Tokens
    admin: Admin
    image: KernelImage

    @property
    def endpoint(self) -> str:
        """The manager's address, as clients have it."""
        return self.layout.endpoint

    def client(self, home: Path, version: str = CLIENT_VERSION) -> Client:
        """Return the official client as the first admin, with a home of its own. Raises MissingPythonError."""
        return Client(ensure_client(version), self.layout, self.admin, home)


@contextmanager
def second_stack(
    checkout: Path = REPOSITORY, address: str = LOOPBACK, cpus: int = CPUS, memory_mb: int = MEMORY_MB
) -> Generator[Stack]:
    """Give a stack on free ports in a temporary folder; nothing is left of it afterwards.

    Other machines may join it at ``address``; its own node offers ``cpus`` and ``memory_mb``, whatever the machine has.

    With CARAVAN_KEEP_STACK in the environment it is left running, to be looked at.
    """
    remove_abandoned()
    with free_block() as base:
        root = Path(tempfile.mkdtemp(prefix=PREFIX))
        layout = replace(_layout(root, base, checkout), address=address, cpus=cpus, memory_mb=memory_mb)
        _owner(root).adopt(os.getpid())
        try:
            programs = find_programs(checkout)
            servers = start_servers(layout, programs)
            image = ensure_image()
            admin = start_platform(layout, servers, image)
            yield Stack(layout, programs, servers, load_tokens(layout), admin, image)
        finally:
            if KEEP not in os.environ:
                clean(layout)


def remove_abandoned() -> None:
    """Take down the second stacks whose process has gone without doing so."""
    for root in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _owner(root).record.exists() and _owner(root).pid() is None:
            clean(load_layout(root, {}))


def _layout(root: Path, base: int, checkout: Path) -> Layout:
    number = (base - FIRST_BLOCK) // BLOCK_SIZE
    layout = Layout(root=root, name=f"test-{base}", ports=Ports.block(base, BLOCK_SIZE), checkout=checkout)
    return replace(layout, network_pool=f"10.{192 + number}.0.0/16")


def _owner(root: Path) -> Daemon:
    return Daemon("owner", [], root / "owner.pid", root / "owner.log")
