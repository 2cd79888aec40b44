"""What agents write to two streams in Redis, and the manager reads. Hints: the sweep is the truth.

Each entry of a stream has one field, ``event``: the JSON of one of these messages. Nodes and kernels have a stream
each: a heartbeat is worth nothing when the next one is there, and many must not push a kernel's end out.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from caravan_common.wire.devices import Device, DeviceStatistics


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
    """What the node offers, healthy devices included: ``{"cpu": "8", "mem": "17179869184", "cuda.shares": "2"}``."""
    devices: list[Device] = []
    """Every accelerator of the node, also those that are ill."""
    statistics: dict[str, DeviceStatistics] = {}
    """How they do, by their ID: of the first thousand, and of those of which anything is known."""
    images: list[str]
    """The references (``name:tag``) of the images that the node holds."""
    volumes: list[str] = []
    """The volumes whose folders can be mounted on the node."""


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
    container: str | None = None
    """Which container ended; None when none ran. A session that was restarted has had several."""
    exit_code: int | None
    reason: str


class KernelCleaned(_Event):
    """Nothing of the kernel is left on the node: no container, mount, network or scratch folder."""

    type: Literal["kernel_cleaned"] = "kernel_cleaned"
    session: UUID
    kernel: UUID


NodeEvent = NodeHeartbeat | NodeStopped
Event = Annotated[NodeEvent | KernelStarted | KernelTerminated | KernelCleaned, Field(discriminator="type")]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's key in Redis, and to about how many entries it is trimmed."""

    key: str
    length: int


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one cluster. ``kernels`` holds what must not be lost while all managers are away for hours.

    ``sessions`` is the managers' own: what each tells the others of sessions that moved.
    """

    kernels: Stream
    nodes: Stream
    sessions: Stream

    @classmethod
    def of(cls, key: str) -> Self:
        """Return the streams below the configured key."""
        return cls(
            kernels=Stream(key, 100_000),
            nodes=Stream(f"{key}:nodes", 10_000),
            sessions=Stream(f"{key}:sessions", 10_000),
        )

    def carrying(self, event: Event) -> Stream:
        """Return the stream that an event goes to."""
        return self.nodes if isinstance(event, NodeEvent) else self.kernels
