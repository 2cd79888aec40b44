"""Sessions' networks in Docker: one bridge each, cut from the agent's pool of addresses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from uuid import UUID

import orjson
from caravan_common.ids import network_name

from caravan_agent_driver.docker.engine import DockerError, Engine, Json

CLUSTER_LABEL = "ai.caravan.cluster"
SESSION_LABEL = "ai.caravan.session"
TRIES = 64
_BUSY = (400, 403, 409, 500)


def free_subnets(pool: IPv4Network, prefix: int, used: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Yield the subnets of the pool that overlap nothing in ``used``, in order."""
    size = 1 << (32 - prefix)
    taken = sorted((network for network in used if network.overlaps(pool)), key=lambda n: n.network_address)
    address = int(pool.network_address)
    while address + size - 1 <= int(pool.broadcast_address):
        subnet = IPv4Network((address, prefix))
        blocking = next((network for network in taken if network.overlaps(subnet)), None)
        if blocking is None:
            yield subnet
            address += size
        else:
            address = max(address + size, int(blocking.broadcast_address) + 1)
            address += -address % size


def _subnets(rows: Json) -> Iterator[IPv4Network]:
    configs: list[dict[str, str]] = [config for row in rows for config in _configs(row)]
    for config in configs:
        network = ip_network(config["Subnet"], strict=False) if config.get("Subnet") else None
        if isinstance(network, IPv4Network):
            yield network


def _configs(row: Json) -> list[dict[str, str]]:
    settings: Json = row.get("IPAM")
    configs: list[dict[str, str]] | None = settings["Config"] if settings else None
    return configs or []


@dataclass(frozen=True, slots=True)
class SessionNetworks:
    """The networks of one cluster's sessions on this node."""

    engine: Engine
    cluster: str
    pool: IPv4Network
    prefix: int

    async def ensure(self, session: UUID) -> None:
        """Make the session's network if it is not there. Raises DockerError when no subnet can be had."""
        rows = await self.engine.call("GET", "/networks")
        if any(row["Name"] == network_name(session) for row in rows):
            return
        last = DockerError(f"the pool {self.pool} has no free /{self.prefix}")
        for _, subnet in zip(range(TRIES), free_subnets(self.pool, self.prefix, _subnets(rows)), strict=False):
            try:
                await self._create(session, subnet)
            except DockerError as err:
                if err.docker_status not in _BUSY:
                    raise
                last = err
            else:
                return
        raise last

    async def _create(self, session: UUID, subnet: IPv4Network) -> None:
        body = {
            "Name": network_name(session),
            "CheckDuplicate": True,
            "Driver": "bridge",
            "Attachable": False,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet)}]},
            "Labels": {CLUSTER_LABEL: self.cluster, SESSION_LABEL: str(session)},
        }
        await self.engine.call("POST", "/networks/create", body=body)

    async def sessions(self) -> set[UUID]:
        """Return the sessions that have a network of this cluster here."""
        filters = orjson.dumps({"label": [f"{CLUSTER_LABEL}={self.cluster}"]}).decode()
        rows = await self.engine.call("GET", "/networks", {"filters": filters})
        return {UUID(row["Labels"][SESSION_LABEL]) for row in rows if SESSION_LABEL in row["Labels"]}

    async def remove(self, session: UUID) -> bool:
        """Remove the session's network; says False while something is connected to it. Missing is fine."""
        if session not in await self.sessions():
            return True
        try:
            await self.engine.call("DELETE", f"/networks/{network_name(session)}")
        except DockerError as err:
            if err.docker_status == 403:
                return False
            if err.docker_status != 404:
                raise
        return True
