"""Sessions' networks in Docker: one bridge each, cut from the agent's pool of addresses."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from uuid import UUID

import orjson
import structlog

from caravan_agent_driver.docker.engine import DockerError, Engine, Json
from caravan_common.ids import network_name

log = structlog.get_logger()

CLUSTER_LABEL = "ai.caravan.cluster"
SESSION_LABEL = "ai.caravan.session"
TRIES = 64
PATIENCE = 4
PAUSE_SECONDS = 0.05
_BUSY = (400, 403, 409, 500)


def choose_subnet(pool: IPv4Network, prefix: int, used: Iterable[IPv4Network], session: UUID) -> IPv4Network | None:
    """Return the first free subnet of the pool from a place on that the session's ID gives; None when all are used.

    A session asks for the same subnet again after a restart of the agent, so that Docker refuses the second of two
    networks made at one time, and sessions of two agents on one Docker rarely want the same.
    """
    count = 1 << (prefix - pool.prefixlen)
    size = 1 << (32 - prefix)
    first = int(pool.network_address)
    taken = [network for network in used if network.overlaps(pool)]
    blocked = {
        index
        for network in taken
        for index in range(
            max(0, (int(network.network_address) - first) // size),
            min(count - 1, (int(network.broadcast_address) - first) // size) + 1,
        )
    }
    start = session.int % count
    free = (index % count for index in range(start, start + count) if index % count not in blocked)
    index = next(free, None)
    return None if index is None else IPv4Network((first + index * size, prefix))


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
        """Make the session's network if it is not there. Raises DockerError when no subnet can be had.

        A refusal may mean that the same network is just being made for an agent that was stopped meanwhile, or that
        the machine uses the addresses otherwise: so look again, and after PATIENCE refusals try another subnet.
        """
        refused: Counter[IPv4Network] = Counter()
        while sum(refused.values()) < TRIES:
            rows = await self.engine.call("GET", "/networks")
            if any(row["Name"] == network_name(session) for row in rows):
                return
            used = [*_subnets(rows), *(subnet for subnet, times in refused.items() if times >= PATIENCE)]
            subnet = choose_subnet(self.pool, self.prefix, used, session)
            if subnet is None:
                break
            if await self._create(session, subnet):
                return
            refused[subnet] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        raise DockerError(f"the pool {self.pool} has no free /{self.prefix}")

    async def _create(self, session: UUID, subnet: IPv4Network) -> bool:
        """Make the network; says False when Docker refuses the name or the subnet."""
        body = {
            "Name": network_name(session),
            "CheckDuplicate": True,
            "Driver": "bridge",
            "Attachable": False,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet)}]},
            "Labels": {CLUSTER_LABEL: self.cluster, SESSION_LABEL: str(session)},
        }
        try:
            await self.engine.call("POST", "/networks/create", body=body)
        except DockerError as err:
            if err.docker_status not in _BUSY:
                raise
            log.info("network.refused", session=str(session), subnet=str(subnet), error=str(err))
            return False
        return True

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
