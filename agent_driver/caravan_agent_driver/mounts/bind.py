"""Mount a virtual folder of a local volume with a bind mount: into a kernel's scratch folder, or where it is asked."""

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from caravan_agent_driver.mounts import paths, syscalls
from caravan_agent_driver.outages import may_pass
from caravan_common.errors import CaravanError, InvalidParametersError, UnavailableError
from caravan_common.ids import folder_path
from caravan_common.mount_points import HOME, check_mount_point
from caravan_common.wire.agent import Mount


def below_home(mounts: Iterable[Mount]) -> list[PurePosixPath]:
    """Return where the mounts that are in the kernel's home lie below it."""
    return [mount.target.relative_to(HOME) for mount in mounts if mount.target.is_relative_to(HOME)]


def outside_home(mounts: Iterable[Mount]) -> list[Mount]:
    """Return the mounts that are elsewhere, so that one below another comes after it."""
    outside = [mount for mount in mounts if not mount.target.is_relative_to(HOME)]
    return sorted(outside, key=lambda mount: (len(mount.target.parts), str(mount.target)))


class BindMounts:
    """Bind mounts of the folders in this node's local volumes: ``volumes`` says where each volume's root is."""

    def __init__(self, volumes: Mapping[str, Path], owner: tuple[int, int]) -> None:
        self._volumes = volumes
        self._owner = owner

    def check(self, mount: Mount) -> None:
        """Raise InvalidParametersError when this node cannot mount it, whatever the disks hold."""
        check_mount_point(mount.target)
        if mount.volume not in self._volumes:
            raise InvalidParametersError(f"this node has no volume {mount.volume}", volume=mount.volume)
        if mount.subpath.is_absolute() or ".." in mount.subpath.parts:
            raise InvalidParametersError(f"{mount.subpath} is not a path inside a folder", folder=mount.name)
        try:
            folder_path(mount.quota_scope, mount.folder)
        except ValueError as err:
            raise InvalidParametersError(f"{mount.quota_scope!r} is not a quota scope", folder=mount.name) from err

    def mount(self, mount: Mount, home: Path) -> None:
        """Mount the folder below ``home``, the host's side of the kernel's home. Blocks.

        For a folder that goes elsewhere this only says whether it is there.
        """
        with self._source(mount) as source:
            if mount.target.is_relative_to(HOME):
                with (
                    paths.opened_root(home) as root,
                    paths.made_below(root, mount.target.relative_to(HOME), self._owner) as target,
                ):
                    tree = syscalls.detached(source, read_only=mount.permission == "ro")
                    try:
                        syscalls.attach(tree, target)
                    finally:
                        os.close(tree)

    def detached(self, mount: Mount) -> int:
        """Return the folder as a mount that is nowhere yet: a descriptor, the caller's to close. Blocks."""
        with self._source(mount) as source:
            return syscalls.detached(source, read_only=mount.permission == "ro")

    @contextmanager
    def _source(self, mount: Mount) -> Generator[int]:
        """Open what is to be mounted. What goes wrong with it, or with mounting it, is the folder's error.

        A folder that is not there, or leads elsewhere, is so until a person changes it: InvalidParametersError. One
        whose volume does not answer may be there soon: UnavailableError.
        """
        source_path = folder_path(mount.quota_scope, mount.folder)
        try:
            with (
                paths.opened_root(self._volumes[mount.volume]) as volume,
                paths.opened_below(volume, source_path) as folder,
                paths.opened_below(folder, mount.subpath) as source,
            ):
                yield source
        except (OSError, CaravanError) as err:
            kind = UnavailableError if may_pass(err) else InvalidParametersError
            raise kind(f"cannot mount the folder {mount.name}: {err}", folder=mount.name) from err
