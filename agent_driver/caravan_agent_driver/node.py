"""What a heartbeat says about this node: names, addresses, slots, accelerators, architecture, images."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from caravan_agent_driver.config import AgentConfig
from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.devices.kind import Statistics
from caravan_agent_driver.docker.engine import Engine
from caravan_agent_driver.docker.images import list_references
from caravan_common.slots import ResourceSlots
from caravan_common.wire.devices import Device, DeviceStatistics
from caravan_common.wire.events import NodeHeartbeat, NodeStopped

VERSION = version("caravan")
MOST_TOLD = 1000
"""Of so many devices a heartbeat says how they do: it must stay a short message."""
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture_of(machine: str) -> str:
    """Return a machine's architecture as images name it."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def slots_of(configured: Mapping[str, str], devices: Iterable[Device]) -> dict[str, str]:
    """Return what the node offers: what is configured, and 1 of its slot for each device that is well."""
    total = ResourceSlots.parse(configured)
    for device in devices:
        total += ResourceSlots.parse({device.slot: int(device.healthy)})
    return total.to_json()


def statistics_of(devices: Iterable[Device], known: Mapping[str, Statistics]) -> dict[str, DeviceStatistics]:
    """Return how the devices do, as far as anything is known of them, and not of too many."""
    told = [device.id for device in devices if known.get(device.id, Statistics()) != Statistics()]
    return {name: DeviceStatistics(**asdict(known[name])) for name in told[:MOST_TOLD]}


@dataclass(frozen=True, slots=True)
class Node:
    """This node, as its configuration describes it, and the accelerators that it has."""

    config: AgentConfig
    engine: Engine
    inventory: Inventory

    async def heartbeat(self) -> NodeHeartbeat:
        """Return what is true now. Raises DockerError when the images cannot be listed."""
        config = self.config
        await self.inventory.refresh()
        devices = self.inventory.devices
        return NodeHeartbeat(
            at=datetime.now(UTC),
            node=config.node_id,
            name=config.node_name,
            scaling_group=config.scaling_group,
            architecture=architecture_of(platform.machine()),
            version=VERSION,
            url=config.advertise_url,
            region=config.region,
            slots=slots_of(config.slots, devices),
            devices=list(devices),
            statistics=statistics_of(devices, await self.inventory.statistics()),
            images=await list_references(self.engine),
            volumes=sorted(config.volumes),
        )

    def stopped(self) -> NodeStopped:
        """Return the message that this agent stops."""
        return NodeStopped(at=datetime.now(UTC), node=self.config.node_id)
