"""Which ports are free, who holds one that is not, and a block of free ones for a stack beside another."""

import errno
import fcntl
import socket
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK, cache_folder

BLOCK_SIZE = 100
FIRST_BLOCK = 26000
LAST_BLOCK = 29900
LISTENING = "0A"
ENDING_PATIENCE = 2.0


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether a server could listen on ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def refuse_taken(wanted: Mapping[str, int], hosts: Collection[str] = (LOOPBACK,)) -> None:
    """Raise SetupError that names the first port that somebody else holds on one of ``hosts``, and who that could be.

    A port of a process that is just ending is waited for.
    """
    for name, port in wanted.items():
        if not all(_gets_free(port, host) for host in hosts):
            raise SetupError(
                f"port {port} ({name}) is taken by {holder(port)}: stop it, or choose another port with "
                f"`caravan-stack up --port {name}=<number>`."
            )


def _gets_free(port: int, host: str) -> bool:
    deadline = time.monotonic() + ENDING_PATIENCE
    while not is_free(port, host):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def answers(host: str, port: int) -> bool:
    """Say whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def holder(port: int) -> str:
    """Return the process that listens on ``port`` as words."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and sockets & _open_sockets(folder):
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"process {folder.name} ({words[:80]})"
    return "another process"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _open_sockets(process: Path) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):
        for entry in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(entry.readlink()))
    return found


@contextmanager
def free_block(size: int = BLOCK_SIZE) -> Generator[int]:
    """Give the first port of a block of free ones, which no other stack of this user takes while the block is open."""
    folder = cache_folder() / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    for base in range(FIRST_BLOCK, LAST_BLOCK, size):
        with (folder / f"{base}.lock").open("w") as lock:
            if _locked(lock.fileno()) and all(is_free(port) for port in range(base, base + size)):
                yield base
                return
    raise SetupError(f"no {size} free ports in a row between {FIRST_BLOCK} and {LAST_BLOCK}.")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
