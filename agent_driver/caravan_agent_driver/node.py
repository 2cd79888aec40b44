"""What a heartbeat says about this node: names, addresses, slots, architecture, images."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from caravan_agent_driver.config import AgentConfig
from caravan_agent_driver.docker.engine import Engine
from caravan_agent_driver.docker.images import list_references
from caravan_common.wire.events import NodeHeartbeat, NodeStopped

VERSION = version("caravan")
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture_of(machine: str) -> str:
    """Return a machine's architecture as images name it."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


@dataclass(frozen=True, slots=True)
class Node:
    """This node, as its configuration describes it."""

    config: AgentConfig
    engine: Engine

    async def heartbeat(self) -> NodeHeartbeat:
        """Return what is true now. Raises DockerError when the images cannot be listed."""
        config = self.config
        return NodeHeartbeat(
            at=datetime.now(UTC),
            node=config.node_id,
            name=config.node_name,
            scaling_group=config.scaling_group,
            architecture=architecture_of(platform.machine()),
            version=VERSION,
            url=config.advertise_url,
            region=config.region,
            slots=config.slots,
            images=await list_references(self.engine),
            volumes=sorted(config.volumes),
        )

    def stopped(self) -> NodeStopped:
        """Return the message that this agent stops."""
        return NodeStopped(at=datetime.now(UTC), node=self.config.node_id)
