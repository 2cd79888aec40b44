"""Makes the parts of a storage proxy from its configuration. Nothing else does."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from caravan_common.errors import ConfigurationError
from caravan_storage.config import StorageConfig, VolumeSection
from caravan_storage.sweeper import Sweeper
from caravan_storage.tokens import Tokens
from caravan_storage.volumes.beneath import Ownership
from caravan_storage.volumes.refusals import VolumeMissingError
from caravan_storage.volumes.vfs import VfsVolume
from caravan_storage.volumes.volume import Volume

WALKS_AT_ONCE = 2
"""Counting a large folder keeps a thread and a disk busy; more than this many wait for their turn."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What the doors work with."""

    volumes: Mapping[str, Volume]
    tokens: Tokens
    sweeper: Sweeper
    walks: asyncio.Semaphore
    manager_token: str
    public_url: str

    def volume(self, name: str) -> Volume:
        """Return the volume of that name. Raises VolumeMissingError."""
        try:
            return self.volumes[name]
        except KeyError as err:
            raise VolumeMissingError(f"this storage proxy has no volume {name!r}") from err


def build_storage(config: StorageConfig) -> Storage:
    """Make everything. Raises ConfigurationError when a volume is not there."""
    owner = Ownership(config.uid, config.gid)
    volumes = {name: _volume(name, section, owner) for name, section in config.volumes.items()}
    client = config.client_api
    return Storage(
        volumes=volumes,
        tokens=Tokens(config.secret.get_secret_value(), client.upload_seconds, client.download_seconds),
        sweeper=Sweeper(volumes.values(), time.time),
        walks=asyncio.Semaphore(WALKS_AT_ONCE),
        manager_token=config.manager_api.token.get_secret_value(),
        public_url=client.public_url,
    )


def _volume(name: str, section: VolumeSection, owner: Ownership) -> Volume:
    if not section.path.is_dir():
        raise ConfigurationError(f"volume {name}: {section.path} is not a directory")
    match section.backend:
        case "vfs":
            return VfsVolume(name, section.path, owner)
