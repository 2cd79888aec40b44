"""Which services Consul's catalogue knows, and where they listen."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# py-consul carries no types; what it answers is given a type here.

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import consul
from requests import RequestException

from caravan_common.consul.client import make_consul
from caravan_common.errors import UnavailableError

ANSWER_SECONDS = 5
THREADS = 2
LARGEST = 1000
"""How many instances of one service are read at most."""


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One registered instance of a service; ``id`` is Consul's."""

    service: str
    address: str
    """``host:port``"""
    node: str
    id: str


class Catalog:
    """Consul's catalogue, as far as this process's token may read it."""

    def __init__(self, address: str) -> None:
        self._client = make_consul(address, ANSWER_SECONDS)
        # Of its own: a silent Consul holds up nothing else.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="catalog")

    async def tagged(self, tag: str) -> list[Instance]:
        """Return the instances of all services with this tag, by service and address. Raises UnavailableError."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._tagged, tag)
        except (consul.ConsulException, RequestException, TimeoutError) as err:
            raise UnavailableError("Consul does not answer") from err

    def _tagged(self, tag: str) -> list[Instance]:
        services: dict[str, list[str]] = self._client.catalog.services()[1]
        found: list[Instance] = []
        for service in sorted(name for name, tags in services.items() if tag in tags):
            entries: list[dict[str, Any]] = self._client.catalog.service(service, tag=tag)[1]
            found += [_instance(entry) for entry in entries[:LARGEST]]
        return sorted(found)


def _instance(entry: dict[str, Any]) -> Instance:
    host = entry["ServiceAddress"] or entry["Address"]
    return Instance(entry["ServiceName"], f"{host}:{entry['ServicePort']}", entry["Node"], entry["ServiceID"])
