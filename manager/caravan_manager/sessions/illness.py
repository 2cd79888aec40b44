"""What a session is told of its devices that fell ill: each once, until it is well again. Pure.

It stands in ``status_data.devices.ill``, and is compared with what the nodes say now: nothing else remembers it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from caravan_common.states import SessionStatus
from caravan_manager.sessions.model import DEVICES, ON_NODES, HeldDevice, Session

WITH_CONTAINERS = ON_NODES - {SessionStatus.SCHEDULED, SessionStatus.TERMINATING}
"""A session in one of these is told; before, it is placed anew instead, and after, it is of no use."""

Device = tuple[str, str]
"""A device of a node: its slot and its ID."""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What a node says of its devices: which are well, and what is wrong with the ill ones."""

    well: frozenset[Device]
    ill: Mapping[Device, str]

    def problem(self, held: HeldDevice) -> str | None:
        """Return what is wrong with a device; None when it is well, also if it gives another slot by now."""
        device = held.slot, held.id
        if device in self.well or (device not in self.ill and any(held.id == id_ for _, id_ in self.well)):
            return None
        return self.ill.get(device, "its node does not have it any more") or "its node does not say why"


Health = Mapping[str, NodeHealth]
"""What the nodes say, by name; one that is silent is absent, and says nothing."""


@dataclass(frozen=True, slots=True)
class Illness:
    """An ill device of a kernel. ``kernel_id`` tells the kernels of different attempts apart."""

    kernel_id: UUID
    kernel: str
    agent: str
    slot: str
    device: str
    problem: str
    since: str

    @property
    def key(self) -> tuple[UUID, str, str]:
        """Which device of which kernel it is; what is wrong with it may change without being told again."""
        return self.kernel_id, self.slot, self.device

    def to_json(self) -> dict[str, str]:
        """Return the form that the database keeps and clients read."""
        return asdict(self) | {"kernel_id": str(self.kernel_id)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Illness":
        """Read what :meth:`to_json` wrote."""
        told = (raw[name] for name in ("kernel", "agent", "slot", "device", "problem", "since"))
        return cls(UUID(raw["kernel_id"]), *told)


@dataclass(frozen=True, slots=True)
class Holder:
    """A kernel that holds devices, and which of them its session was told to be ill."""

    session: UUID
    kernel: UUID
    node: str
    devices: tuple[HeldDevice, ...]
    told: frozenset[Device]

    def ill(self, health: Health) -> frozenset[Device]:
        """Return the kernel's ill devices; those that it was told of when its node says nothing."""
        said = health.get(self.node)
        if said is None:
            return self.told
        return frozenset((held.slot, held.id) for held in self.devices if said.problem(held) is not None)

    def must_be_told(self, health: Health) -> bool:
        """Whether the session does not know what its node says."""
        return self.ill(health) != self.told


def illnesses(status_data: Mapping[str, Any]) -> dict[tuple[UUID, str, str], Illness]:
    """Return what a session was told of devices that are ill."""
    told = [Illness.from_json(raw) for raw in status_data.get(DEVICES, {}).get("ill", ())]
    return {illness.key: illness for illness in told}


def told_of_devices(session: Session, health: Health, now: datetime) -> Session:
    """Return the session that knows which of its devices are ill; the same one when that is nothing new."""
    if session.status not in WITH_CONTAINERS:
        return session
    known = illnesses(session.status_data)
    ill = {illness.key: illness for illness in _ill(session, health, known, now)}
    if ill.keys() == known.keys():
        return session
    data = {name: value for name, value in session.status_data.items() if name != DEVICES}
    if ill:
        data[DEVICES] = {"ill": [illness.to_json() for illness in ill.values()]}
    return replace(session, status_data=data)


def _ill(
    session: Session, health: Health, known: Mapping[tuple[UUID, str, str], Illness], now: datetime
) -> Iterator[Illness]:
    """Give what is ill now, as it was told if it was; what a silent node had of it stays."""
    for kernel in session.kernels:
        if kernel.is_dead or kernel.node is None:
            continue
        said = health.get(kernel.node)
        for held in kernel.devices:
            before = known.get((kernel.id, held.slot, held.id))
            problem = None if said is None else said.problem(held)
            if before is not None and (said is None or problem is not None):
                yield before
            elif problem is not None:
                name, since = kernel.cluster_hostname, now.isoformat()
                yield Illness(kernel.id, name, kernel.node, held.slot, held.id, problem, since)
