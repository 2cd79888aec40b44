"""Visit everything below a directory, in bounded memory and with few descriptors, never through a symbolic link."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from caravan_storage.volumes.paths import DEEPEST, UPLOADS, Parts


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing found: where, what, and the descriptor of its directory, which is open until the next visit."""

    parts: Parts
    entry: os.DirEntry[str]
    parent: int


class _Entries(Protocol):
    """What `os.scandir` gives; its class has no public name."""

    def __next__(self) -> os.DirEntry[str]: ...
    def __iter__(self) -> Iterator[os.DirEntry[str]]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Level:
    descriptor: int
    parts: Parts
    entries: _Entries

    def close(self) -> None:
        self.entries.close()
        os.close(self.descriptor)


def walk(top: int, *, whole_folder: bool) -> Generator[Visit, None, None]:
    """Visit all entries below the open directory ``top``, each directory before what is in it.

    ``whole_folder`` says that ``top`` is a folder, whose uploads in progress are left out. Directories that vanish,
    or may not be read, or lie deeper than any path may reach, are visited and not entered.
    """
    levels = [_level(os.dup(top), ())]
    try:
        while levels:
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop().close()
                continue
            if whole_folder and not level.parts and entry.name == UPLOADS:
                continue
            parts = (*level.parts, entry.name)
            yield Visit(parts, entry, level.descriptor)
            if len(parts) < DEEPEST and entry.is_dir(follow_symlinks=False):
                levels.extend(_entered(level.descriptor, parts))
    finally:
        for level in levels:
            level.close()


def _entered(parent: int, parts: Parts) -> Iterator[_Level]:
    try:
        inner = os.open(parts[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return
    yield _level(inner, parts)


def _level(descriptor: int, parts: Parts) -> _Level:
    try:
        return _Level(descriptor, parts, os.scandir(descriptor))
    except OSError:
        os.close(descriptor)
        raise
