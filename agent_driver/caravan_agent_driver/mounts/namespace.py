"""Mounting inside a container that runs: in its own mount namespace, seen by nobody else, gone with it. Blocks."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TypeVar

from caravan_agent_driver.mounts import paths, syscalls
from caravan_agent_driver.mounts.table import parse_mount_points

Result = TypeVar("Result")

ROOT = (0, 0)


def has_given_up_root(pid: int) -> bool:
    """Say whether what the container's init started is no root's any more. Raises OSError when the container is gone.

    Until then the image's own programs run as root, and no user's folder may lie in their way.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return bool(children) and not any(_may_be_root(int(child)) for child in children)


def _may_be_root(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    users = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    return "0" in users


def mounted_in(pid: int) -> set[PurePosixPath]:
    """Return the mount points that a process sees. Raises OSError when it is gone."""
    text = Path(f"/proc/{pid}/mountinfo").read_bytes().decode("latin-1")
    return {PurePosixPath(point) for point in parse_mount_points(text)}


def open_namespace(pid: int) -> int:
    """Open the mount namespace of a process; gives a descriptor, which stays the namespace's whatever becomes of it."""
    return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def attach(namespace: int, trees: list[tuple[PurePosixPath, int]]) -> None:
    """Mount detached trees (descriptors) at absolute paths of a mount namespace.

    Missing folders are made, root's, as Docker makes them. Raises InvalidParametersError for a path that leads through
    a symbolic link, OSError.
    """

    def work() -> None:
        syscalls.enter_mount_namespace(namespace)
        with ExitStack() as opened:
            root = opened.enter_context(paths.opened_root(Path("/")))
            for path, tree in trees:
                target = opened.enter_context(paths.made_below(root, path.relative_to("/"), ROOT))
                syscalls.attach(tree, target)

    _in_a_thread_of_its_own(work)


def _in_a_thread_of_its_own(work: Callable[[], Result]) -> Result:
    """Do what changes the thread for good in one that ends with it. Its errors are this thread's."""
    results: list[Result] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as err:
            errors.append(err)

    thread = Thread(target=body, name="container")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
