"""The agent's configuration file, `agent.toml`, as a model."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from caravan_common.config import LogSection, RedisSection, Section
from caravan_common.slots import ResourceSlots

SUBNET_PREFIX = 28
"""How large one session's network is: a /28 has room for 13 kernels."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _slots(amounts: dict[str, str]) -> dict[str, str]:
    return ResourceSlots.parse(amounts).to_json()


def _pool(network: IPv4Network) -> IPv4Network:
    if network.prefixlen > SUBNET_PREFIX:
        raise ValueError(f"must hold at least one /{SUBNET_PREFIX}")
    return network


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class ApiSection(Section):
    """Where the manager reaches the agent, and the token that it shows.

    ``cert_file`` is a PEM file of the key, its certificate and those above it; with it the door is TLS.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=6011, ge=0, le=65535)
    token: SecretStr = Field(min_length=16)
    cert_file: AbsolutePath | None = None


class MetricsSection(Section):
    """Where Prometheus reads the agent's metrics."""

    host: str = "127.0.0.1"
    port: int = Field(default=6003, ge=0, le=65535)


class VolumeSection(Section):
    """A volume that this node has: where its root lies here."""

    path: AbsolutePath


class LimitsSection(Section):
    """How long and how much the agent keeps of kernels that are over, and when it looks for them."""

    orphan_seconds: float = Field(default=6 * 3600, gt=0)
    """After this long a prepared kernel that never got a container is cleaned."""
    leftover_seconds: float = Field(default=600, gt=0)
    """After this long an ended kernel whose clean-up hook never came, or a folder that nobody knows, is cleaned."""
    sweep_seconds: float = Field(default=60, gt=0)
    heartbeat_seconds: float = Field(default=5, gt=0)
    log_bytes: int = Field(default=8 * 1024**2, ge=4096)
    """How much of one kernel's log is kept; the oldest part goes first."""
    logs_total_bytes: int = Field(default=2 * 1024**3, ge=4096)
    log_days: float = Field(default=14, gt=0)


class AgentConfig(Section):
    """`agent.toml`."""

    node_name: str = Field(min_length=1)
    node_id: str = Field(min_length=1)
    region: str = "global"
    scaling_group: str = "default"
    advertise_url: str = Field(pattern=r"^https?://")
    cluster: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The name of this stack: a label on everything that the agent makes in Docker."""
    socket: AbsolutePath
    state_dir: AbsolutePath
    docker_socket: AbsolutePath = Path("/var/run/docker.sock")
    network_pool: Annotated[IPv4Network, AfterValidator(_pool)] = IPv4Network("10.128.0.0/12")
    uid: int = Field(default=1000, ge=1)
    gid: int = Field(default=1000, ge=1)
    log: LogSection = LogSection()
    api: ApiSection
    metrics: MetricsSection = MetricsSection()
    slots: Annotated[dict[str, str], AfterValidator(_slots)]
    redis: RedisSection
    volumes: dict[str, VolumeSection] = {}
    devices: AbsolutePath | None = None
    """The node's device file (see `devices/config.py`), the same that Nomad's device plugin reads."""
    limits: LimitsSection = LimitsSection()
