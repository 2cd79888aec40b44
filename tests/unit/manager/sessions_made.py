"""Sessions in every state, for the tests of the state machine and of what works on sessions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, NodeStatus, SessionResult, SessionStatus, SessionType
from caravan_manager.nodes.model import Node
from caravan_manager.sessions.model import Kernel, Seat, Session
from caravan_manager.sessions.queue import QueuedSession, pending_of

BEGAN = datetime(2026, 11, 21, 9, tzinfo=UTC)
LATER = BEGAN + timedelta(seconds=5)
SLOTS = ResourceSlots.parse({"cpu": "1", "mem": "256m"})


def pending(kernels: int = 1, type_: SessionType = SessionType.BATCH) -> Session:
    session_id = uuid4()
    members = tuple(
        Kernel(
            id=uuid4(),
            session_id=session_id,
            cluster_role="main" if i == 0 else "sub",
            cluster_idx=max(1, i),
            slots=SLOTS,
            status=SessionStatus.PENDING,
            status_changed=BEGAN,
            created_at=BEGAN,
        )
        for i in range(kernels)
    )
    return Session(
        id=session_id,
        name="train",
        type=type_,
        priority=10,
        tag=None,
        domain_name="default",
        project_id=UUID(int=1),
        user_id=UUID(int=2),
        access_key="AKIAEXAMPLE",
        scaling_group="default",
        image="caravan/python:3.11",
        registry="local",
        architecture="x86_64",
        cluster_mode=ClusterMode.SINGLE_NODE,
        requested_slots=SLOTS,
        resource_opts={},
        environ={},
        mounts=(),
        startup_command="true",
        bootstrap_script=None,
        callback_url=None,
        status=SessionStatus.PENDING,
        status_info="",
        status_data={},
        status_changed=BEGAN,
        status_history={"PENDING": BEGAN.isoformat()},
        result=SessionResult.UNDEFINED,
        created_at=BEGAN,
        scheduled_at=None,
        terminated_at=None,
        kernels=members,
    )


def node_made(name: str, node_id: UUID) -> Node:
    """A node that is there, with 8 cpu and 16 GiB."""
    return Node(
        name=name,
        node_id=node_id,
        status=NodeStatus.ALIVE,
        status_changed=BEGAN,
        region="global",
        scaling_group="default",
        schedulable=True,
        architecture="x86_64",
        version="0",
        url="http://127.0.0.1:6011",
        slots=ResourceSlots.parse({"cpu": "8", "mem": "16g"}),
        devices=(),
        images=frozenset(),
        volumes=frozenset(),
        first_contact=BEGAN,
        last_heartbeat=BEGAN,
        lost_at=None,
    )


def queued(session: Session, sequence: int = 1) -> QueuedSession:
    waiting = replace(pending_of(session, ()), sequence=sequence)
    return QueuedSession(waiting, session.status_info, session.status_data)


def submitted(session: Session) -> Session:
    return session.scheduled({k.id: Seat("node1") for k in session.kernels}, LATER).submitted(LATER)


def running(session: Session) -> Session:
    session = submitted(session)
    for kernel in session.kernels:
        session = session.kernel_started(kernel.id, "c0ffee", LATER)
    return session.released(session.attempt, LATER)
