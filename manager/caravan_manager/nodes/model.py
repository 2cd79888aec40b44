"""Nodes and scaling groups as values. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from caravan_common.errors import NotFoundError
from caravan_common.slots import ResourceSlots
from caravan_common.states import NodeStatus, SessionType


class ScalingGroupNotFoundError(NotFoundError):
    """The scaling group does not exist, or the caller may not use it."""

    object_name = "scaling group"


class NodeNotFoundError(NotFoundError):
    """No agent ever reported a node of this name."""

    object_name = "agent"


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator of a node: ``slot`` is what it gives 1 of, in as many equal parts as it has ``shares``."""

    id: str
    slot: str
    model: str
    shares: int = 1
    memory: int = 0
    numa_node: int | None = None
    healthy: bool = True
    problem: str = ""
    """Why it is ill, for people."""
    shared_memory: str = ""
    """A folder of the node that must be /dev/shm of every container with a part of it."""


Statistics = Mapping[str, Mapping[str, float]]
"""How devices do, by their ID: ``utilization`` in per cent, ``memory_used`` in bytes, ``power`` in watts and
``temperature`` in degrees Celsius, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Nomad client with Caravan's agent. ``name`` is what Backend.AI calls the agent's ID."""

    name: str
    node_id: UUID
    status: NodeStatus
    status_changed: datetime
    region: str
    scaling_group: str
    schedulable: bool
    architecture: str
    version: str
    url: str
    slots: ResourceSlots
    devices: tuple[Device, ...]
    images: frozenset[str]
    volumes: frozenset[str]
    first_contact: datetime
    last_heartbeat: datetime
    lost_at: datetime | None

    def device(self, slot: str, id_: str) -> Device | None:
        """Return one of the node's accelerators, ill or well; None when it has none of this slot and ID."""
        return next((device for device in self.devices if (device.slot, device.id) == (slot, id_)), None)


SESSION_TYPES = "allowed_session_types"
"""The option of a scaling group that names the types of sessions which it takes.

All where it is not there but those of the system: a group takes them only if it names them, as in Backend.AI.
"""
USER_PRIORITY = "max_user_priority"
"""The option that says which priority users who are no administrators may ask for at most."""
DEFAULT_PRIORITY, HIGHEST_PRIORITY = 10, 100


@dataclass(frozen=True, slots=True)
class ScalingGroup:
    """A set of nodes with one scheduler."""

    name: str
    description: str
    is_active: bool
    is_public: bool
    created_at: datetime
    wsproxy_addr: str | None
    driver: str
    driver_opts: dict[str, Any]
    scheduler: str
    scheduler_opts: dict[str, Any]
    use_host_network: bool

    def takes(self, kind: SessionType) -> bool:
        """Whether sessions of a type may use it: a private one is for the system's only."""
        is_system = kind is SessionType.SYSTEM
        if not self.is_public and not is_system:
            return False
        types = self.scheduler_opts.get(SESSION_TYPES)
        return kind.value.lower() in types if isinstance(types, list) else not is_system

    @property
    def user_priority(self) -> int:
        """The highest priority that users may ask for: where nobody said, any, as in Backend.AI.

        But only the default one where sessions of high priority end those of other users; never less than that.
        """
        written = self.scheduler_opts.get(USER_PRIORITY)
        if isinstance(written, int) and not isinstance(written, bool):
            return max(written, DEFAULT_PRIORITY)
        return DEFAULT_PRIORITY if self._ends_sessions_of_others else HIGHEST_PRIORITY

    @property
    def _ends_sessions_of_others(self) -> bool:
        rules = self.scheduler_opts.get("preemption")
        if not isinstance(rules, dict):
            return False
        given = cast("dict[str, object]", rules)
        return given.get("enabled") is True and given.get("victim_scope", "user") != "user"


class GuestKind(StrEnum):
    """To whom a scaling group can be open: to all of a domain, to all of a project, to one keypair."""

    DOMAIN = "domain"
    PROJECT = "project"
    KEYPAIR = "keypair"


@dataclass(frozen=True, slots=True)
class Guest:
    """One to whom scaling groups are open: ``id`` is the domain's name, the project's UUID or the access key."""

    kind: GuestKind
    id: str | UUID

    @property
    def called(self) -> str:
        """What people call it."""
        return f"{self.kind.value} {self.id}"


def usable(domain: str, projects: Sequence[UUID], access_key: str) -> tuple[Guest, ...]:
    """Return as whom a keypair may use scaling groups in projects of a domain: what is open to any of them.

    Backend.AI's rule (`query_allowed_sgroups` of 25.5.2); what is kept to one project is closed to the domain.
    """
    return (
        Guest(GuestKind.DOMAIN, domain),
        *(Guest(GuestKind.PROJECT, project) for project in projects),
        Guest(GuestKind.KEYPAIR, access_key),
    )
