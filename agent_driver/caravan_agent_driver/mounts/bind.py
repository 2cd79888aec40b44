"""Mount a virtual folder of a local volume into a kernel's scratch folder with a bind mount."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from caravan_agent_driver.mounts import paths, syscalls
from caravan_common.errors import CaravanError, InvalidParametersError
from caravan_common.ids import folder_path
from caravan_common.wire.agent import Mount

HOME = PurePosixPath("/home/work")


def below_home(target: PurePosixPath) -> PurePosixPath:
    """Return where ``target`` lies below the kernel's home. Raises InvalidParametersError for any other place."""
    if not target.is_relative_to(HOME) or target == HOME or ".." in target.parts:
        raise InvalidParametersError(f"a folder can be mounted below {HOME} only, not at {target}", target=str(target))
    return target.relative_to(HOME)


class BindMounts:
    """Bind mounts of the folders in this node's local volumes: ``volumes`` says where each volume's root is."""

    def __init__(self, volumes: Mapping[str, Path], owner: tuple[int, int]) -> None:
        self._volumes = volumes
        self._owner = owner

    def check(self, mount: Mount) -> None:
        """Raise InvalidParametersError when this node cannot mount it, whatever the disks hold."""
        below_home(mount.target)
        if mount.volume not in self._volumes:
            raise InvalidParametersError(f"this node has no volume {mount.volume}", volume=mount.volume)
        if mount.subpath.is_absolute() or ".." in mount.subpath.parts:
            raise InvalidParametersError(f"{mount.subpath} is not a path inside a folder", folder=mount.name)
        try:
            folder_path(mount.quota_scope, mount.folder)
        except ValueError as err:
            raise InvalidParametersError(f"{mount.quota_scope!r} is not a quota scope", folder=mount.name) from err

    def mount(self, mount: Mount, home: Path) -> None:
        """Mount the folder below ``home``, the host's side of the kernel's home. Blocks."""
        source_path = folder_path(mount.quota_scope, mount.folder)
        try:
            with (
                paths.opened_root(self._volumes[mount.volume]) as volume,
                paths.opened_below(volume, source_path) as folder,
                paths.opened_below(folder, mount.subpath) as source,
                paths.opened_root(home) as root,
                paths.made_below(root, below_home(mount.target), self._owner) as target,
            ):
                syscalls.bind(source, target, read_only=mount.permission == "ro")
        except (OSError, CaravanError) as err:
            raise InvalidParametersError(f"cannot mount the folder {mount.name}: {err}", folder=mount.name) from err
