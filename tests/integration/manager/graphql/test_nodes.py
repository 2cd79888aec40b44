"""Who is shown which nodes and scaling groups, and in which form."""

import json
from typing import Any

from tests.integration.manager.graphql.made import Door, add_node, add_sessions, running

from caravan_common.wire.devices import Device, DeviceStatistics
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import nodes, scaling_groups
from caravan_manager.people.model import Principal


async def test_a_node_has_the_recorded_form(
    door: Door, admin: Principal, user: Principal, begin: Begin, seed: Any
) -> None:
    await add_sessions(begin, running(user, seed.project, "sess1"))
    query = """{ agent_list(limit:10,offset:0,status:"ALIVE"){ items {
        id status region scaling_group schedulable available_slots occupied_slots addr architecture lost_at live_stat
        version auto_terminate_abusing_kernel local_config hardware_metadata cpu_cur_pct mem_cur_bytes mem_slots
        cpu_slots used_cpu_slots used_mem_slots
    } total_count } }"""
    assert (await door.data(admin, query))["agent_list"] == {
        "items": [
            {
                "id": "n1",
                "status": "ALIVE",
                "region": "local",
                "scaling_group": "default",
                "schedulable": True,
                "available_slots": '{"cpu": "9", "mem": "48926258176"}',
                "occupied_slots": '{"cpu": "1", "mem": "536870912"}',
                "addr": "http://127.0.0.1:6011",
                "architecture": "x86_64",
                "lost_at": None,
                "live_stat": '{"node": {}, "devices": {}}',
                "version": "0.1.0",
                "auto_terminate_abusing_kernel": False,
                "local_config": '{"agent": {"auto_terminate_abusing_kernel": false}}',
                "hardware_metadata": "{}",
                "cpu_cur_pct": 0.0,
                "mem_cur_bytes": 0.0,
                "mem_slots": 46659,
                "cpu_slots": 9.0,
                "used_cpu_slots": 1.0,
                "used_mem_slots": 512,
            }
        ],
        "total_count": 1,
    }


GPUS = [
    Device(id="GPU-1", slot="cuda.device", model="A100", memory=1024),
    Device(id="GPU-2", slot="cuda.device", model="A100", memory=1024, healthy=False, problem="XID 79"),
]


async def test_a_node_shows_how_its_accelerators_do_until_it_is_silent(
    door: Door, admin: Principal, begin: Begin
) -> None:
    await add_node(begin, devices=GPUS, statistics={"GPU-1": DeviceStatistics(utilization=40.0, memory_used=512)})
    query = """{ agents { live_stat compute_plugins hardware_metadata }
        agent(agent_id: "n1") { live_stat } agent_list(limit: 1, offset: 0) { items { live_stat } } }"""
    shown = await door.data(admin, query)
    stat = json.loads(shown["agents"][0]["live_stat"])
    assert stat["devices"]["cuda_util"]["GPU-1"]["pct"] == "40"
    assert stat["node"]["cuda_mem"] == {"current": "512", "capacity": "1024", "pct": "50", "unit_hint": "bytes"}
    assert stat == json.loads(shown["agent"]["live_stat"])
    assert stat == json.loads(shown["agent_list"]["items"][0]["live_stat"])
    assert json.loads(shown["agents"][0]["compute_plugins"])["cuda"]["models"] == {"A100": 2}
    hardware = json.loads(shown["agents"][0]["hardware_metadata"])["cuda"]
    assert (hardware["status"], hardware["status_info"]) == ("degraded", "GPU-2: XID 79")

    await add_node(begin, devices=GPUS, statistics={"GPU-1": DeviceStatistics(power=7.0)}, seconds=1)
    stat = json.loads((await door.data(admin, query))["agent"]["live_stat"])
    assert list(stat["devices"]) == ["cuda_power"]

    absurd = {"GPU-1": {"memory_used": 1e27, "utilization": 1e300, "power": 7.0}}
    async with begin() as tx:
        await tx.execute(nodes.update().values(statistics=absurd))  # as an older manager believed it
    stat = json.loads((await door.data(admin, query))["agent"]["live_stat"])
    assert list(stat["devices"]) == ["cuda_power"]

    async with begin() as tx:
        await tx.execute(nodes.update().values(status="LOST"))
    assert (await door.data(admin, query))["agent"]["live_stat"] == '{"node": {}, "devices": {}}'


async def test_nodes_are_chosen_by_name_status_and_group(door: Door, admin: Principal, begin: Begin) -> None:
    await add_node(begin)
    query = "query($s: String, $g: String) { agents(status: $s, scaling_group: $g) { id } }"
    assert await door.data(admin, query, s="ALIVE,LOST") == {"agents": [{"id": "n1"}]}
    assert await door.data(admin, query, s="LOST") == {"agents": []}
    assert await door.data(admin, query, g="elsewhere") == {"agents": []}
    assert await door.data(admin, '{ agent(agent_id: "n1") { id } }') == {"agent": {"id": "n1"}}
    assert (await door.error(admin, '{ agent(agent_id: "n2") { id } }'))["message"].startswith("No such agent.")


async def test_nodes_are_for_administrators(door: Door, user: Principal) -> None:
    for root in ("agents { id }", 'agent(agent_id: "n1") { id }', "agent_list(limit: 1, offset: 0) { total_count }"):
        assert (await door.error(user, f"{{ {root} }}"))["message"].startswith("Forbidden operation. (")


async def test_a_scaling_group_has_the_recorded_form(door: Door, admin: Principal, begin: Begin) -> None:
    await add_node(begin)
    query = """{ scaling_group(name: "default") { name is_active is_public wsproxy_api_token driver_opts scheduler
        scheduler_opts use_host_network agent_count_by_status agent_total_resource_slots_by_status } }"""
    assert (await door.data(admin, query))["scaling_group"] == {
        "name": "default",
        "is_active": True,
        "is_public": True,
        "wsproxy_api_token": None,
        "driver_opts": "{}",
        "scheduler": "fifo",
        "scheduler_opts": "{}",
        "use_host_network": False,
        "agent_count_by_status": 1,
        "agent_total_resource_slots_by_status": (
            '{"occupied_slots": {}, "available_slots": {"cpu": "9", "mem": "48926258176"}}'
        ),
    }


async def test_a_scaling_group_tells_the_part_in_multiples_of_which_its_accelerators_are_given(
    door: Door, user: Principal, begin: Begin
) -> None:
    query = "{ scaling_groups { name accelerator_quantum_size } }"
    await add_node(begin)
    assert await door.data(user, query) == {"scaling_groups": [{"name": "default", "accelerator_quantum_size": None}]}
    gpus = [Device(id=f"GPU-{n}", slot="cuda.shares", model="A100", shares=n) for n in (20, 50)]
    await add_node(begin, 1, devices=[*gpus, Device(id="NPU", slot="atom.device", model="ATOM")])
    assert await door.data(user, query) == {"scaling_groups": [{"name": "default", "accelerator_quantum_size": 0.1}]}


async def test_scaling_groups_are_those_of_the_callers_domain(
    door: Door, admin: Principal, user: Principal, begin: Begin
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="secret"))
    query = '{ scaling_groups { name } scaling_group(name: "secret") { name } }'
    assert await door.data(user, query) == {"scaling_groups": [{"name": "default"}], "scaling_group": None}
    assert len((await door.data(admin, query))["scaling_groups"]) == 2
