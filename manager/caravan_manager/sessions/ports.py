"""The ports on which a session's services listen in its containers: the image's, and those that a user opens. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caravan_common.errors import InvalidParametersError

SERVICE_PORTS = "ai.backend.service-ports"
ENDPOINT_PORTS = "ai.backend.endpoint-ports"
RESERVED = (2000, 2001, 2200, 7681)
PREOPEN = "preopen"

_SERVICE = re.compile(
    r"(?P<name>[\w.-]{1,64}):(?P<protocol>tcp|http|preopen|vnc|rdp|pty):(?P<ports>\d{1,5}|\[\d{1,5}(,\d{1,5})*\])"
)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A service: its name, how it is spoken to, and where it listens in the container."""

    name: str
    protocol: str
    container_ports: tuple[int, ...]
    is_inference: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the form that the database keeps and clients read. The host has no port for it yet."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "container_ports": list(self.container_ports),
            "host_ports": [None for _ in self.container_ports],
            "is_inference": self.is_inference,
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "ServicePort":
        """Read what :meth:`to_json` wrote."""
        return cls(raw["name"], raw["protocol"], tuple(raw["container_ports"]), raw["is_inference"])


def choose_ports(labels: Mapping[str, str], wanted: Sequence[int]) -> tuple[ServicePort, ...]:
    """Return the services of an image with these labels, and one for each port that a user wants open.

    Raises InvalidParametersError for a port that is reserved or the image's own, and for an image whose label is wrong.
    """
    services = tuple(_services(labels))
    taken = {port for service in services for port in service.container_ports}
    for port in wanted:
        if port in RESERVED:
            raise InvalidParametersError("Port 2000, 2001, 2200 and 7681 are reserved for internal use")
        if port in taken:
            raise InvalidParametersError("Preopen port allocation cannot overlap with service port predefined by image")
    return services + tuple(ServicePort(str(port), PREOPEN, (port,)) for port in dict.fromkeys(wanted))


def preopened(ports: Sequence[ServicePort]) -> list[int]:
    """Return the ports that the user opened."""
    return [port.container_ports[0] for port in ports if port.protocol == PREOPEN and port.name.isdigit()]


def _services(labels: Mapping[str, str]) -> Iterator[ServicePort]:
    inference = set(filter(None, labels.get(ENDPOINT_PORTS, "").replace(" ", "").split(",")))
    rest = labels.get(SERVICE_PORTS, "").replace(" ", "")
    while rest:
        found = _SERVICE.match(rest)
        if found is None or rest[found.end() : found.end() + 1] not in {"", ","}:
            raise InvalidParametersError(f"the image's label {SERVICE_PORTS} cannot be read at {rest[:64]!r}")
        rest = rest[found.end() + 1 :]
        if found["protocol"] != "pty":
            ports = tuple(int(port) for port in found["ports"].strip("[]").split(","))
            yield ServicePort(found["name"], found["protocol"], ports, found["name"] in inference)
