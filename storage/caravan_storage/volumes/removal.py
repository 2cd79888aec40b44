"""Remove a directory tree however deep it is, with two descriptors and no recursion."""

import os
from collections.abc import Generator
from uuid import uuid4

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_STEP_ENTRIES = 1000


def remove_tree(parent: int, name: str) -> Generator[None, None, None]:
    """Remove the directory ``name`` in ``parent`` and everything in it, in small steps: run the generator to its end.

    Directories are moved up to the top before they are emptied, so that a tree of any depth is removed in a flat loop.
    Raises OSError when something stays.
    """
    top = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        waiting: list[str] = []
        yield from _emptied(top, top, waiting)
        while waiting:
            child = waiting.pop()
            inner = os.open(child, _DIRECTORY, dir_fd=top)
            try:
                yield from _emptied(inner, top, waiting)
            finally:
                os.close(inner)
            os.rmdir(child, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _emptied(directory: int, top: int, waiting: list[str]) -> Generator[None, None, None]:
    """Unlink the files of a directory and move its directories to ``top``; their new names go to ``waiting``."""
    with os.scandir(directory) as entries:
        for count, entry in enumerate(entries, start=1):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.name if directory == top else _moved(directory, top, entry.name))
            else:
                os.unlink(entry.name, dir_fd=directory)
            if count % _STEP_ENTRIES == 0:
                yield
    yield


def _moved(directory: int, top: int, name: str) -> str:
    moved = f".removed-{uuid4().hex}"
    os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
    return moved
