"""What agents write to the event stream in Redis, and the manager reads. Hints: the sweep is the truth.

Each entry of the stream has one field, ``event``: the JSON of one of these messages.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: datetime
    node: str
    """The Nomad node ID (a UUID as text) of the agent that speaks."""


class NodeHeartbeat(_Event):
    """An agent is alive; everything that the manager knows of the node. Sent at start and every few seconds."""

    type: Literal["node_heartbeat"] = "node_heartbeat"
    name: str
    """The node's name for people, unique in the cluster; Backend.AI's agent ID."""
    scaling_group: str
    architecture: str
    """As in images: ``x86_64`` or ``aarch64``."""
    version: str
    url: str
    """Where the manager reaches the agent's API: ``http://host:port``."""
    region: str
    slots: dict[str, str]
    """What the node offers, as decimal strings: ``{"cpu": "8", "mem": "17179869184"}``."""
    images: list[str]
    """The references (``name:tag``) of the images that the node holds."""


class NodeStopped(_Event):
    """An agent was asked to stop. Kernels go on; the node gets no new ones until the next heartbeat."""

    type: Literal["node_stopped"] = "node_stopped"


class KernelStarted(_Event):
    """The kernel's container runs."""

    type: Literal["kernel_started"] = "kernel_started"
    session: UUID
    kernel: UUID
    container: str


class KernelTerminated(_Event):
    """The kernel's container ended, or will never start (``exit_code`` is None, ``reason`` says why)."""

    type: Literal["kernel_terminated"] = "kernel_terminated"
    session: UUID
    kernel: UUID
    exit_code: int | None
    reason: str


class KernelCleaned(_Event):
    """Nothing of the kernel is left on the node: no container, mount, network or scratch folder."""

    type: Literal["kernel_cleaned"] = "kernel_cleaned"
    session: UUID
    kernel: UUID


Event = Annotated[
    NodeHeartbeat | NodeStopped | KernelStarted | KernelTerminated | KernelCleaned, Field(discriminator="type")
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
