"""What agents say of their nodes, on a real PostgreSQL: news that arrive late change nothing."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.integration.manager.test_agent_watcher import NOW, heartbeat, known

from caravan_common.states import NodeStatus
from caravan_common.wire.devices import Device
from caravan_common.wire.events import NodeHeartbeat, NodeStopped
from caravan_manager.db.engine import Begin
from caravan_manager.nodes.repository import list_nodes
from caravan_manager.nodes.service import NodesService

NODE = uuid4()


def beat(second: int, version: str) -> NodeHeartbeat:
    return heartbeat(NODE, version).model_copy(update={"at": NOW + timedelta(seconds=second)})


def stop(second: int) -> NodeStopped:
    return NodeStopped(at=NOW + timedelta(seconds=second), node=str(NODE))


@pytest.fixture
def service(begin: Begin) -> NodesService:
    return NodesService(begin)


async def test_an_agent_that_stops_takes_its_node_out_until_the_next_one_is_heard(
    service: NodesService, begin: Begin
) -> None:
    await service.heard(beat(0, "1"))
    await service.stopped(stop(5))
    assert await known(begin, NODE) == ("1", NodeStatus.TERMINATED)
    await service.heard(beat(7, "2"))
    assert await known(begin, NODE) == ("2", NodeStatus.ALIVE)


async def test_the_stop_of_an_agent_that_is_told_after_its_successor_was_heard_takes_no_node_out(
    service: NodesService, begin: Begin
) -> None:
    await service.heard(beat(0, "1"))
    await service.heard(beat(7, "2"))
    await service.stopped(stop(5))
    assert await known(begin, NODE) == ("2", NodeStatus.ALIVE)
    await service.stopped(stop(8))
    assert await known(begin, NODE) == ("2", NodeStatus.TERMINATED)


async def test_a_heartbeat_that_comes_late_neither_revives_a_node_nor_makes_it_what_it_was(
    service: NodesService, begin: Begin
) -> None:
    await service.heard(beat(2, "2"))
    await service.heard(beat(1, "1"))
    assert await known(begin, NODE) == ("2", NodeStatus.ALIVE)
    await service.stopped(stop(5))
    await service.heard(beat(4, "2"))
    assert await known(begin, NODE) == ("2", NodeStatus.TERMINATED)


async def test_an_agent_whose_clock_was_set_back_is_believed_again(service: NodesService, begin: Begin) -> None:
    await service.heard(beat(0, "1"))
    await service.heard(beat(-3600, "2"))
    assert await known(begin, NODE) == ("1", NodeStatus.ALIVE)
    async with begin() as tx:
        await tx.execute(text("update nodes set last_heartbeat = now() - interval '61 seconds'"))
    await service.heard(beat(-3590, "2"))
    await service.heard(beat(-3580, "3"))
    assert await known(begin, NODE) == ("3", NodeStatus.ALIVE)


async def test_a_nodes_accelerators_are_what_its_agent_said_last(service: NodesService, begin: Begin) -> None:
    ill = Device(id="GPU-1", slot="cuda.shares", model="A100", shares=10, memory=80, healthy=False, problem="XID 79")
    said = {"devices": [ill], "slots": {"cpu": "1", "mem": "1", "atom.device": "2"}}
    await service.heard(beat(0, "1").model_copy(update=said))
    async with begin() as tx:
        (node,) = [node for node in await list_nodes(tx) if node.node_id == NODE]
    device = node.device("cuda.shares", "GPU-1")
    assert device is not None
    assert (device.model, device.shares, device.healthy, device.problem) == ("A100", 10, False, "XID 79")
    assert "atom.device" in await service.offered_slots()
