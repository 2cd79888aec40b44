"""What a simulation is about: sessions that come and for how long each runs, and the nodes they came to. Values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import Quota, Tenant
from caravan_manager.scheduler.snapshot import GroupView, NodeView
from caravan_manager.sessions.queue import KernelRequest, PendingSession, PlacedSession

GROUP = "default"
ARCHITECTURE = "x86_64"
PRIORITY = 10
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""When a trace begins that says no dates."""
_NAMES = UUID("6f0c1b0e-6f0b-4b5c-9d55-0c7a5b1f3a10")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session that comes at its ``pending_since``, and for how long it runs; None is for ever."""

    session: PendingSession
    runs_for: timedelta | None


@dataclass(frozen=True, slots=True)
class Held:
    """A session that holds nodes as the trace begins, and until when; None is for ever."""

    session: PlacedSession
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace. What it does not say of nodes and rules, a policy must."""

    arrivals: tuple[Arrival, ...]
    nodes: tuple[NodeView, ...] = ()
    groups: tuple[GroupView, ...] = ()
    quotas: tuple[Quota, ...] = ()
    held: tuple[Held, ...] = ()
    left_out: int = 0
    """Sessions of which the trace does not say enough."""

    def faster(self, times: float) -> "Trace":
        """Return the trace with its sessions coming in a shorter time, each running for as long as before."""
        if not self.arrivals:
            return self
        first = min(arrival.session.pending_since for arrival in self.arrivals)

        def sooner(arrival: Arrival) -> Arrival:
            at = first + (arrival.session.pending_since - first) / times
            return replace(arrival, session=replace(arrival.session, pending_since=at, starts_at=None))

        return replace(self, arrivals=tuple(sooner(arrival) for arrival in self.arrivals))


def imported(
    number: int,
    name: str,
    came: datetime,
    slots: Mapping[str, Decimal],
    *,
    user: str = "",
    account: str = "",
    kernels: int = 1,
    models: frozenset[str] = frozenset(),
    limit: timedelta | None = None,
    priority: int = PRIORITY,
) -> PendingSession:
    """Return a session of somebody else's trace; ``slots`` are those of each kernel. IDs are made from names."""
    return PendingSession(
        id=uuid5(_NAMES, f"{number} {name}"),
        sequence=number,
        priority=priority,
        type=SessionType.BATCH,
        scaling_group=GROUP,
        architecture=ARCHITECTURE,
        cluster_mode=ClusterMode.MULTI_NODE if kernels > 1 else ClusterMode.SINGLE_NODE,
        tenant=Tenant(user, uuid5(_NAMES, f"user {user}"), uuid5(_NAMES, f"account {account}"), GROUP),
        kernels=tuple(
            KernelRequest(uuid5(_NAMES, f"{number} {name} {i}"), ResourceSlots(slots)) for i in range(kernels)
        ),
        pending_since=came,
        models=models,
        time_limit=limit,
    )


def made_node(
    name: str,
    slots: Mapping[str, Decimal],
    devices: tuple[Device, ...] = (),
    scaling_group: str = GROUP,
    architecture: str = ARCHITECTURE,
) -> NodeView:
    """Return a node; what its devices give is added to its slots."""
    given = dict(slots)
    for device in devices:
        given[device.slot] = given.get(device.slot, Decimal(0)) + 1
    return NodeView(name, scaling_group, architecture, True, ResourceSlots(given), devices)
