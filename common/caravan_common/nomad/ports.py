"""Which ports Nomad gave to the groups of a job, out of what it says of their allocations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, TypeAdapter


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of a node that leads into a container."""

    host: str
    """The node's address on which it is published."""
    number: int


Ports = Mapping[str, Mapping[str, PublishedPort]]
"""The published ports of a job: group, then label."""


class _Port(BaseModel):
    Label: str
    Value: int
    HostIP: str


class _Shared(BaseModel):
    Ports: list[_Port] | None = None


class _Resources(BaseModel):
    Shared: _Shared


class _Allocation(BaseModel):
    TaskGroup: str
    CreateIndex: int
    AllocatedResources: _Resources | None = None


_ALLOCATIONS = TypeAdapter(list[_Allocation])


def ports_of(listed: Iterable[object]) -> Ports:
    """Return the ports of each group's latest allocation. ``listed`` is Nomad's list, resources included."""
    allocations = sorted(_ALLOCATIONS.validate_python(listed), key=lambda allocation: allocation.CreateIndex)
    return {
        allocation.TaskGroup: {
            port.Label: PublishedPort(port.HostIP, port.Value) for port in allocation.AllocatedResources.Shared.Ports
        }
        for allocation in allocations
        if allocation.AllocatedResources is not None and allocation.AllocatedResources.Shared.Ports
    }
