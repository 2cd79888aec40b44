"""Who is shown which sessions and containers, and in which form."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.integration.manager.graphql.made import MORNING, MOUNT, Door, add_sessions, running
from tests.unit.manager.sessions_made import pending

from caravan_common.states import SessionType
from caravan_manager.db.engine import Begin
from caravan_manager.people.model import Principal
from caravan_manager.sessions import repository

LIST = """query($limit: Int!, $offset: Int!, $status: String, $access_key: String) {
  compute_session_list(limit: $limit, offset: $offset, status: $status, access_key: $access_key) {
    items { name access_key priority id group_name type image status status_info status_changed result }
    total_count
  }
}"""


async def test_a_list_of_sessions_has_the_recorded_form(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    data = await door.data(user, LIST, limit=20, offset=0, status="PENDING,RUNNING,ERROR")
    assert data["compute_session_list"] == {
        "items": [
            {
                "name": "sess1",
                "access_key": user.access_key,
                "priority": 10,
                "id": str(session.id),
                "group_name": "default",
                "type": "INTERACTIVE",
                "image": "caravan/python:3.11-bookworm",
                "status": "RUNNING",
                "status_info": "",
                "status_changed": "2026-11-21T08:55:20.758998+00:00",
                "result": "UNDEFINED",
            }
        ],
        "total_count": 1,
    }


async def test_a_session_has_the_recorded_form(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    query = """query($id: UUID!) { compute_session(id: $id) {
        session_id main_kernel_id tag main_kernel_role architecture registry cluster_mode cluster_size domain_name
        group_id user_email full_name user_id created_user_email status_data status_history created_at terminated_at
        starts_at startup_command commit_status abusing_reports idle_checks agents agent_ids resource_opts scaling_group
        service_ports mounts vfolder_mounts occupying_slots occupied_slots requested_slots num_queries
        dependencies { id }
    } }"""
    moment = "2026-11-21T08:55:20.758998+00:00"
    assert (await door.data(user, query, id=str(session.id)))["compute_session"] == {
        "session_id": str(session.id),
        "main_kernel_id": str(session.main_kernel.id),
        "tag": None,
        "main_kernel_role": "INTERACTIVE",
        "architecture": "x86_64",
        "registry": "local",
        "cluster_mode": "single-node",
        "cluster_size": 1,
        "domain_name": "default",
        "group_id": str(seed.project),
        "user_email": user.email,
        "full_name": "User",
        "user_id": str(user.user_id),
        "created_user_email": None,
        "status_data": "{}",
        "status_history": f'{{"RUNNING": "{moment}"}}',
        "created_at": moment,
        "terminated_at": None,
        "starts_at": None,
        "startup_command": None,
        "commit_status": "ready",
        "abusing_reports": [None],
        "idle_checks": "{}",
        "agents": ["n1"],
        "agent_ids": ["n1"],
        "resource_opts": '{"main1": {"shmem": "67108864"}}',
        "scaling_group": "default",
        "service_ports": "[]",
        "mounts": ["data"],
        "vfolder_mounts": [str(MOUNT.folder)],
        "occupying_slots": '{"cpu": "1", "mem": "536870912"}',
        "occupied_slots": '{"cpu": "1", "mem": "536870912"}',
        "requested_slots": '{"cpu": "1", "mem": "536870912"}',
        "num_queries": 0,
        "dependencies": [],
    }


async def test_a_container_has_the_recorded_form(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    query = """query($id: UUID!) { compute_session(id: $id) { containers {
        id cluster_role cluster_idx cluster_hostname session_id image registry status status_info status_data agent
        container_id occupied_slots preopen_ports live_stat last_stat local_rank
        image_object { name labels { key value } }
    } } }"""
    assert (await door.data(user, query, id=str(session.id)))["compute_session"]["containers"] == [
        {
            "id": str(session.main_kernel.id),
            "cluster_role": "main",
            "cluster_idx": 1,
            "cluster_hostname": "main1",
            "session_id": str(session.id),
            "image": "caravan/python:3.11-bookworm",
            "registry": "local",
            "status": "RUNNING",
            "status_info": None,
            "status_data": "{}",
            "agent": "n1",
            "container_id": "c0ffee",
            "occupied_slots": '{"cpu": "1", "mem": "536870912"}',
            "preopen_ports": [],
            "live_stat": None,
            "last_stat": None,
            "local_rank": 0,
            "image_object": {
                "name": "caravan/python",
                "labels": [
                    {"key": "ai.backend.resource.min.cpu", "value": "1"},
                    {"key": "ai.backend.resource.min.mem", "value": "64m"},
                ],
            },
        }
    ]


async def test_a_batch_session_that_failed_shows_its_exit_code(
    door: Door, user: Principal, begin: Begin, seed: Any
) -> None:
    batch = replace(running(user, seed.project, "train"), type=SessionType.BATCH, startup_command="false")
    ended = batch.kernel_terminated(batch.main_kernel.id, 3, "exited", MORNING + timedelta(minutes=1))
    await add_sessions(begin, ended)
    query = """query($id: UUID!) { compute_session(id: $id) {
        status result type occupying_slots occupied_slots terminated_at containers { status status_data }
    } }"""
    assert (await door.data(user, query, id=str(batch.id)))["compute_session"] == {
        "status": "TERMINATED",
        "result": "FAILURE",
        "type": "BATCH",
        "occupying_slots": "{}",
        "occupied_slots": '{"cpu": "1", "mem": "536870912"}',
        "terminated_at": "2026-11-21T08:56:20.758998+00:00",
        "containers": [{"status": "TERMINATED", "status_data": '{"kernel": {"exit_code": 3}}'}],
    }


async def test_sessions_are_shown_to_their_owner_and_administrators(
    door: Door, admin: Principal, user: Principal, other: Principal, domain_admin: Principal, begin: Begin, seed: Any
) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    one = "query($id: UUID!) { compute_session(id: $id) { name } }"
    for caller in (admin, user):
        assert (await door.data(caller, LIST, limit=1, offset=0))["compute_session_list"]["total_count"] == 1
        assert await door.data(caller, one, id=str(session.id)) == {"compute_session": {"name": "sess1"}}
    for caller in (other, domain_admin):
        assert (await door.data(caller, LIST, limit=1, offset=0))["compute_session_list"]["total_count"] == 0
        assert (await door.error(caller, one, id=str(session.id)))["message"].startswith("No such session.")


async def test_a_user_cannot_list_the_sessions_of_another_access_key(
    door: Door, admin: Principal, user: Principal
) -> None:
    error = await door.error(user, LIST, limit=1, offset=0, access_key=admin.access_key)
    assert error["message"].startswith("Forbidden operation. (")


async def test_sessions_are_chosen_by_status_and_project(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    await add_sessions(begin, running(user, seed.project, "sess1"))
    assert (await door.data(user, LIST, limit=9, offset=0, status="PENDING,ERROR"))["compute_session_list"] == {
        "items": [],
        "total_count": 0,
    }
    query = "query($g: String) { compute_session_list(limit: 1, offset: 0, group_id: $g) { total_count } }"
    assert (await door.data(user, query, g=str(seed.project)))["compute_session_list"] == {"total_count": 1}
    assert (await door.data(user, query, g=str(uuid4())))["compute_session_list"] == {"total_count": 0}


async def test_an_unknown_status_is_refused(door: Door, user: Principal) -> None:
    for status in ("SLEEPING", "RUNNING,sleeping"):
        error = await door.error(user, LIST, limit=1, offset=0, status=status)
        assert "is not a status of sessions" in error["message"]


async def test_a_keypair_counts_its_live_sessions(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    dead = running(user, seed.project, "sess2").vanished("lost", MORNING)
    await add_sessions(begin, running(user, seed.project, "sess1"), dead)
    assert await door.data(user, "{ keypair { concurrency_used } }") == {"keypair": {"concurrency_used": 1}}


MODIFY = """mutation($input: ModifyComputeSessionInput!) {
  modify_compute_session(input: $input) { item { id row_id name priority status } clientMutationId }
}"""


async def test_an_administrator_changes_a_sessions_priority_and_name(
    door: Door, admin: Principal, user: Principal, begin: Begin, seed: Any
) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    node = base64.b64encode(f"ComputeSessionNode:{session.id}".encode()).decode()
    for said in (node, str(session.id), base64.b64encode(f"compute_session_node:{session.id}".encode()).decode()):
        wanted = {"id": said, "priority": 33, "name": None, "clientMutationId": "abc"}
        changed = (await door.data(admin, MODIFY, input=wanted))["modify_compute_session"]
        assert changed == {
            "item": {"id": node, "row_id": str(session.id), "name": "sess1", "priority": 33, "status": "RUNNING"},
            "clientMutationId": "abc",
        }
    assert (await door.data(admin, MODIFY, input={"id": node, "name": "better"}))["modify_compute_session"]["item"][
        "name"
    ] == "better"


async def test_a_user_changes_no_priority(door: Door, user: Principal, begin: Begin, seed: Any) -> None:
    session = running(user, seed.project, "sess1")
    await add_sessions(begin, session)
    answer = await door.ask(user, MODIFY, input={"id": str(session.id), "priority": 90})
    assert answer["data"]["modify_compute_session"] is None
    assert "no permission" in answer["errors"][0]["message"]


async def test_what_a_session_depends_on_is_listed_with_two_statements_for_all(
    door: Door, user: Principal, begin: Begin, seed: Any, statements: list[str]
) -> None:
    first, second = running(user, seed.project, "first"), running(user, seed.project, "second")
    await add_sessions(begin, first, second)
    async with begin() as tx:
        for number in range(3):
            child = replace(pending(), name=f"child-{number}", access_key=user.access_key, user_id=user.user_id)
            await repository.add(tx, replace(child, project_id=seed.project), [first.id, second.id])
    query = """{ compute_session_list(limit: 10, offset: 0, status: "PENDING") {
        items { name dependencies { name id } }
    } }"""
    statements.clear()
    items = (await door.data(user, query))["compute_session_list"]["items"]
    parents = [{"name": s.name, "id": str(s.id)} for s in (first, second)]
    assert {item["name"]: item["dependencies"] for item in items} == {f"child-{n}": parents for n in range(3)}
    assert sum("session_dependencies" in sql for sql in statements) == 1
