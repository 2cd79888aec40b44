"""What a storage proxy's configuration file holds."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from caravan_common.config import LogSection, Section


class ClientApiSection(Section):
    """Where clients reach the proxy. ``public_url`` is what they are told, without a slash at the end."""

    host: str = "127.0.0.1"
    port: int = Field(default=6021, ge=0, le=65535)
    public_url: str = Field(pattern=r"^https?://[^\s?#]+[^\s?#/]$")
    upload_seconds: int = Field(default=24 * 3600, ge=60)
    """How long an upload may take, from the request to its last byte."""
    download_seconds: int = Field(default=3600, ge=60)
    """How long a download may be begun, or resumed, after it was asked for."""


class ManagerApiSection(Section):
    """Where managers reach the proxy, and the token that they show."""

    host: str = "127.0.0.1"
    port: int = Field(default=6022, ge=0, le=65535)
    token: SecretStr = Field(min_length=16)


class MetricsSection(Section):
    """Where Prometheus reaches the proxy."""

    host: str = "127.0.0.1"
    port: int = Field(default=16023, ge=0, le=65535)


class VolumeSection(Section):
    """One volume: a directory that is there and belongs to the proxy."""

    backend: Literal["vfs"] = "vfs"
    path: Path

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError(f"{path} must be an absolute path")
        return path


class StorageConfig(Section):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    secret: SecretStr = Field(min_length=32)
    """The key that signs the tokens of transfers."""
    uid: int = Field(default=1000, ge=0)
    """Whom files belong to that arrive through the proxy: the user that kernels run as."""
    gid: int = Field(default=1000, ge=0)
    log: LogSection = LogSection()
    client_api: ClientApiSection
    manager_api: ManagerApiSection
    metrics: MetricsSection = MetricsSection()
    volumes: dict[str, VolumeSection] = Field(min_length=1)
