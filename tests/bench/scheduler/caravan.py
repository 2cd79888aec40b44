"""Caravan's arm: the only place of the benchmark that knows the planner's interface.

A decision is what a pass does for one session: checks, the search for its node, its devices, the ledger's entry.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random
from time import process_time
from uuid import UUID, uuid4

from tests.bench.scheduler.cluster import MILLION, Nodes, Placement, Request

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionType
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler import snapshot
from caravan_manager.scheduler.group import GroupPass
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.selectors.packed import Packed
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Reason, Snapshot
from caravan_manager.sessions.queue import KernelRequest, PendingSession, PlacedKernel, PlacedSession

SLOT = "cuda.shares"
SHARES = 1000
GROUP = "default"
ARCHITECTURE = "x86_64"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = Tenant("key", UUID(int=1), UUID(int=2), "default")
KNOWN = 500
"""How many of the typical requests the planner sees as its queue: it looks at no more."""


class CaravanArm:
    """One long pass over one scaling group with the selector `packed`, which sessions come to one at a time."""

    def __init__(self, nodes: Nodes, typical: Sequence[Request]) -> None:
        known = Random(0).sample(typical, min(KNOWN, len(typical)))
        self._rows = {name: row for row, name in enumerate(nodes.names)}
        self._pass = GroupPass(_views(nodes), (), Packed, NOW, [session_of(request) for request in known])

    def decide(self, session: PendingSession) -> snapshot.Placement | Reason:
        """Place a session, or say why not."""
        return self._pass.place(session)

    def place(self, request: Request) -> Placement | None:
        """Place the request and remember it; None when it fits nowhere."""
        decided = self.decide(session_of(request))
        if isinstance(decided, Reason):
            return None
        ((_, seat),) = decided.seats
        devices = tuple((int(held.id), int(held.amount * MILLION)) for held in seat.devices)
        return Placement(self._rows[seat.node], devices)


def packed(nodes: Nodes, typical: Sequence[Request]) -> CaravanArm:
    """Return the planner with the selector `packed` on an empty cluster; typical requests are those of its queue."""
    return CaravanArm(nodes, typical)


def one_pass(nodes: Nodes, live: Sequence[Request], pending: Sequence[Request]) -> tuple[float, int]:
    """Return the processor's seconds of one pass over live and pending sessions, and how many of these it placed."""
    views = tuple(_views(nodes))
    arm = packed(nodes, live)
    placed = tuple(
        _placed(session, decided)
        for session in map(_new_session, live)
        if not isinstance(decided := arm.decide(session), Reason)
    )
    waiting = tuple(_new_session(request, sequence) for sequence, request in enumerate(pending))
    taken = Snapshot(NOW, views, waiting, placed, (GroupView(GROUP, "drf"),))
    plugins = find_plugins()
    began = process_time()
    decided = plan(taken, plugins)
    return process_time() - began, len(decided.placements)


def started(nodes: Nodes, burst: Sequence[tuple[int, Request]], sequencer: str) -> list[int]:
    """Return which sessions of a burst, each a user's number and a request, one pass over an empty cluster starts."""
    waiting = tuple(
        replace(_new_session(request, place), tenant=replace(TENANT, user=UUID(int=100 + user)))
        for place, (user, request) in enumerate(burst)
    )
    places = {session.id: session.sequence for session in waiting}
    decided = plan(Snapshot(NOW, tuple(_views(nodes)), waiting, (), (GroupView(GROUP, sequencer),)), find_plugins())
    return [places[placement.session] for placement in decided.placements]


@cache
def session_of(request: Request) -> PendingSession:
    """Return a request as a session; equal ones are the same session, which the planner does not mind."""
    return _new_session(request)


def _new_session(request: Request, sequence: int = 0) -> PendingSession:
    return PendingSession(
        id=uuid4(),
        sequence=sequence,
        priority=10,
        type=SessionType.INTERACTIVE,
        scaling_group=GROUP,
        architecture=ARCHITECTURE,
        cluster_mode=ClusterMode.SINGLE_NODE,
        tenant=TENANT,
        kernels=(KernelRequest(uuid4(), _slots(request.cpu, request.mem, request.gpu)),),
        pending_since=NOW,
        models=request.models,
    )


def _placed(session: PendingSession, decided: snapshot.Placement) -> PlacedSession:
    ((_, seat),) = decided.seats
    return PlacedSession(
        id=session.id,
        priority=session.priority,
        type=session.type,
        scaling_group=GROUP,
        tenant=TENANT,
        placed_at=NOW,
        kernels=(PlacedKernel(seat.node, session.slots, seat.devices),),
    )


def _views(nodes: Nodes) -> list[NodeView]:
    gpu = nodes.gpu.tolist()
    return [
        NodeView(
            name=name,
            scaling_group=GROUP,
            architecture=ARCHITECTURE,
            schedulable=True,
            capacity=_slots(int(nodes.cpu[row]), int(nodes.mem[row]), sum(free for free in gpu[row] if free > 0)),
            devices=tuple(
                Device(str(place), SLOT, nodes.models[nodes.model[row]], shares=SHARES)
                for place, free in enumerate(gpu[row])
                if free == MILLION
            ),
        )
        for row, name in enumerate(nodes.names)
    ]


@cache
def _slots(cpu: int, mem: int, gpu: int) -> ResourceSlots:
    """Return amounts; equal ones are one object, as they are when sessions and nodes are read."""
    amounts = {"cpu": Decimal(cpu) / MILLION, "mem": Decimal(mem)}
    return ResourceSlots(amounts | ({SLOT: Decimal(gpu) / MILLION} if gpu else {}))
