"""A device falls ill under a session: who follows it is told, once, and so is who looks at it through the API."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import structlog
from prometheus_client import REGISTRY
from sqlalchemy import text
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_events import Manager, now
from tests.integration.manager.test_events import manager as manager  # noqa: PLC0414

from caravan_agent_driver.devices.fake import FakeDevices
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.db.engine import Begin
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.sessions.model import HeldDevice, Seat, Session

NODE = str(uuid4())
GROUP = {"slot": "cuda.shares", "model": "Fake-H100", "count": 2, "shares": 10}
ASKED = "{ compute_session(id: %r) { status status_data } }"


def heartbeat(ill: Sequence[str] = (), seconds: int = 0) -> NodeHeartbeat:
    """Return what the agent says of a node with two fake GPUs."""
    return NodeHeartbeat(
        at=now() + timedelta(seconds=seconds),
        node=NODE,
        name="gpu-node",
        scaling_group="default",
        architecture="x86_64",
        version="1",
        url="http://127.0.0.1:6011",
        region="local",
        slots={"cpu": "8", "mem": "4294967296", "cuda.shares": "2"},
        devices=list(FakeDevices({"devices": [GROUP], "ill": list(ill)}).list_devices()),
        images=[],
    )


class Hearing:
    """A manager's ear for heartbeats; ``illnesses`` is a process' memory of them."""

    def __init__(self, begin: Begin, manager: Manager) -> None:
        self.nodes = NodesService(begin)
        self.illnesses = Illnesses(manager.moves)

    async def hear(self, beat: NodeHeartbeat, *, and_dies: bool = False) -> None:
        await self.nodes.heard(beat)
        if not and_dies:
            await self.illnesses.heard(beat)


async def running(manager: Manager, user: Principal, device: str = "fake-cuda-0") -> Session:
    session = await manager.create(user)
    held = HeldDevice("cuda.shares", device, Decimal("0.5"))
    main = session.main_kernel.id
    return await manager.move(
        session,
        lambda s, at: s.scheduled({main: Seat("gpu-node", (held,))}, at),
        lambda s, at: s.submitted(at),
        lambda s, at: s.kernel_started(main, "c0ffee", at),
    )


async def test_who_follows_a_session_hears_once_that_its_device_fell_ill_and_that_it_is_well(
    manager: Manager, user: Principal, begin: Begin
) -> None:
    hearing = Hearing(begin, manager)
    await hearing.hear(heartbeat())
    session = await running(manager, user)
    async with manager.following(user, f"?sessionId={session.id}") as reader:
        with structlog.testing.capture_logs() as logs:
            for seconds in range(1, 4):
                await hearing.hear(heartbeat(["fake-cuda-0", "fake-cuda-1"], seconds))
            await hearing.illnesses.sweep()
        assert REGISTRY.get_sample_value("caravan_session_ill_devices", {"slot": "cuda.shares"}) == 1
        await hearing.hear(heartbeat(["fake-cuda-1"], 4))
        await manager.end(session)
        told = [event for _ in range(5) if (event := await reader.next()) is not None]
    assert [name for name, _ in told][:3] == [
        "kernel_device_unhealthy",
        "kernel_device_recovered",
        "session_terminating",
    ]
    kernel = {"kernelId": str(session.main_kernel.id), "clusterRole": "main", "clusterIdx": 1}
    assert told[0][1].items() >= (kernel | {"sessionId": str(session.id)}).items()
    assert told[0][1]["reason"] == "cuda.shares fake-cuda-0: the device file says so"
    ill = [line["ill"] for line in logs if line["event"] == "session.devices_ill"]
    assert ill == [["gpu-node/fake-cuda-0: the device file says so"]]
    await hearing.illnesses.sweep()
    assert REGISTRY.get_sample_value("caravan_session_ill_devices", {"slot": "cuda.shares"}) is None


async def test_what_a_manager_died_over_its_successor_tells_and_what_it_told_stays_told(
    manager: Manager, user: Principal, begin: Begin, seed: Seed
) -> None:
    await Hearing(begin, manager).hear(heartbeat())
    session = await running(manager, user)
    async with manager.following(user, f"?sessionId={session.id}") as reader:
        await Hearing(begin, manager).hear(heartbeat(["fake-cuda-0"], 1), and_dies=True)
        for _ in range(2):
            await Hearing(begin, manager).illnesses.sweep()
        await Hearing(begin, manager).hear(heartbeat(["fake-cuda-0"], 2))
        async with serving_api(begin) as http:
            caller = Caller(http, seed.user.access_key, seed.user_secret)
            asked = {"query": ASKED.replace("%r", f'"{session.id}"'), "variables": {}}
            status, seen = await caller.call("POST", "/admin/gql", asked)
        assert status == 200
        shown = seen["data"]["compute_session"]
        assert shown["status"] == "RUNNING"
        assert "the device file says so" in str(shown["status_data"])
        await manager.end(session)
        assert await reader.names(2) == ["kernel_device_unhealthy", "session_terminating"]


async def test_a_silent_node_says_neither_that_a_device_is_ill_nor_that_it_is_well(
    manager: Manager, user: Principal, begin: Begin
) -> None:
    hearing = Hearing(begin, manager)
    await hearing.hear(heartbeat())
    session = await running(manager, user)
    await hearing.hear(heartbeat(["fake-cuda-0"], 1))
    async with begin() as tx:
        await tx.execute(text("update nodes set status = 'LOST', devices = '[]' where name = 'gpu-node'"))
    await hearing.illnesses.sweep()
    session = await manager.moves.apply(session.id, lambda s, _: s)
    assert [told["device"] for told in session.status_data["devices"]["ill"]] == ["fake-cuda-0"]
