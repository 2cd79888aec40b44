"""What the door answers to requests for sessions: as Backend.AI 25.5.2 answers, and with nothing left behind."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from sqlalchemy import func, select
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, kernels, scaling_groups, session_dependencies, sessions

INVALID = (400, "invalid-api-params", "Missing or invalid API parameters.")
QUOTA = (412, "quota-exceeded", "You have reached your resource limit.")


def missing(what: str) -> tuple[int, str, str]:
    return 404, "object-not-found", f"No such {what}."


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator["TestClient[Any, Any]", None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


@pytest.fixture
def admin(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.admin.access_key, seed.admin_secret)


def body(seed: Seed, name: str = "train", **changes: Any) -> dict[str, Any]:
    config = {"resources": {"cpu": "1", "mem": "256m"}} | changes.pop("config", {})
    wanted = {"name": name, "image": seed.image_reference, "type": "batch", "startupCommand": "true", "config": config}
    return wanted | {"enqueueOnly": True, "reuseIfExists": False} | changes


async def rows(begin: Begin) -> int:
    async with begin() as tx:
        tables = (sessions, kernels, session_dependencies, audit_log)
        return sum([await tx.scalar(select(func.count()).select_from(table)) or 0 for table in tables])


@pytest.mark.parametrize(
    ("changes", "answer", "wrong"),
    [
        ({"image": "no/such:image"}, missing("environment image"), None),
        ({"image": "bad image"}, missing("environment image"), None),
        ({"architecture": "mips"}, missing("environment image"), None),
        ({"name": "x"}, INVALID, {"name"}),
        ({"name": "-bad-name-"}, INVALID, {"name"}),
        ({"name": None}, INVALID, {"session_name"}),
        ({"config": {"resources": {"cpu": "1", "mem": "1m"}}}, INVALID, None),
        ({"config": {"resources": {"cpu": "-1", "mem": "256m"}}}, INVALID, None),
        ({"config": {"resources": {"cpu": "x", "mem": "256m"}}}, INVALID, None),
        ({"config": {"resources": {"cpu": "1", "foo.bar": "1"}}}, INVALID, None),
        ({"config": {"resource_opts": {"shmem": "1g"}}}, INVALID, None),
        ({"config": {"mounts": ["no-such-folder"]}}, missing("virtual folder"), None),
        ({"config": {"scaling_group": "nowhere"}}, missing("scaling group"), None),
        ({"priority": 101}, INVALID, {"priority"}),
        ({"priority": -1}, INVALID, {"priority"}),
        ({"priority": "x"}, INVALID, {"priority"}),
        ({"cluster_size": 0}, INVALID, {"cluster_size"}),
        ({"cluster_size": 2}, QUOTA, None),
        ({"cluster_mode": "nowhere"}, INVALID, {"cluster_mode"}),
        ({"type": "nothing"}, INVALID, {"type"}),
        ({"startupCommand": None}, INVALID, None),
        ({"type": "interactive", "starts_at": "1h"}, INVALID, None),
        ({"type": "interactive", "batch_timeout": "1h"}, INVALID, None),
        ({"starts_at": "nonsense"}, INVALID, None),
        ({"batch_timeout": "nonsense"}, INVALID, None),
        ({"batch_timeout": "-1h"}, INVALID, None),
        ({"dependencies": ["nowhere"]}, INVALID, {"session_ref"}),
        ({"dependencies": ["x" * 65]}, INVALID, None),
        ({"dependencies": ["train"] * 101}, INVALID, None),
        ({"group": "nowhere"}, INVALID, None),
        ({"domain": "nowhere"}, INVALID, None),
        ({"callback_url": "not a url"}, INVALID, {"callback_url"}),
        ({"callback_url": "ftp://example.com/"}, INVALID, {"callback_url"}),
        ({"maxWaitSeconds": -1}, INVALID, {"maxWaitSeconds"}),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_left(
    me: Caller, seed: Seed, begin: Begin, changes: dict[str, Any], answer: tuple[int, str, str], wrong: set[str] | None
) -> None:
    status, problem = await me.call("POST", "/session", body(seed, **changes))
    assert (status, problem["type"].rpartition("/")[2], problem["title"]) == answer, problem
    assert wrong is None or set(problem["data"]) == wrong
    assert await rows(begin) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"resources": {"cpu": "0", "mem": "256m"}}},
        {"config": {"resources": {"cpu": "1", "mem": "100000g"}}},
        {"callback_url": "https://example.com/hook", "tag": "nightly", "priority": 0, "starts_at": None},
        {
            "starts_at": "2026-12-01T09:00:00+09:00",
            "batch_timeout": 90,
            "dependencies": None,
        },
    ],
)
async def test_what_can_be_waits_in_the_queue(me: Caller, seed: Seed, changes: dict[str, Any]) -> None:
    status, made = await me.call("POST", "/session", body(seed, **changes))
    assert (status, made["status"], made["created"]) == (201, "PENDING", True)


async def test_a_name_that_is_live_is_refused_or_reused_at_once(me: Caller, seed: Seed) -> None:
    _, first = await me.call("POST", "/session", body(seed))
    status, problem = await me.call("POST", "/session", body(seed))
    assert (status, problem["data"]) == (400, {"existingSessionId": first["sessionId"]})
    assert problem["type"].endswith("/session-already-exists")
    status, reused = await me.call("POST", "/session", body(seed, reuseIfExists=True, enqueueOnly=False))
    assert (status, reused) == (
        201,
        {
            "sessionId": first["sessionId"],
            "sessionName": "train",
            "status": "PENDING",
            "servicePorts": [],
            "service_ports": [],
            "created": False,
        },
    )


async def test_whoever_waits_for_a_session_that_is_cancelled_is_told_so(me: Caller, seed: Seed) -> None:
    waiting = asyncio.create_task(me.call("POST", "/session", body(seed, enqueueOnly=False)))
    async with asyncio.timeout(20):
        while (await me.call("DELETE", "/session/train"))[0] != 200:
            assert not waiting.done()
    status, problem = await asyncio.wait_for(waiting, 20)
    assert (status, problem["title"]) == (404, "No such session.")


async def test_what_does_not_run_is_not_renamed(me: Caller, seed: Seed) -> None:
    await me.call("POST", "/session", body(seed))
    status, problem = await me.call("POST", "/session/train/rename?name=better")
    assert (status, problem["type"].rpartition("/")[2]) == INVALID[:2]


async def test_the_graph_of_dependencies_has_the_form_that_the_client_reads(me: Caller, seed: Seed) -> None:
    _, parent = await me.call("POST", "/session", body(seed, "first"))
    _, child = await me.call("POST", "/session", body(seed, "second", dependencies=["first"]))
    status, graph = await me.call("GET", "/session/second/dependency-graph")
    assert (status, graph["session_id"], graph["status"]) == (200, child["sessionId"], "KernelStatus.PENDING")
    (below,) = graph["depends_on"]
    assert (below["session_id"], below["session_name"], below["depends_on"]) == (parent["sessionId"], "first", [])
    assert below.keys() == graph.keys()


async def test_destroying_recursively_answers_for_each_session(me: Caller, seed: Seed) -> None:
    await me.call("POST", "/session", body(seed, "first"))
    await me.call("POST", "/session", body(seed, "second", dependencies=["first"]))
    assert await me.call("DELETE", "/session/first?recursive=true") == (200, [{"status": "cancelled"}] * 2)


@pytest.mark.parametrize(
    ("group", "kind", "message"),
    [
        ({"scheduler_opts": {"allowed_session_types": ["interactive"]}}, "batch", "does not accept the session type"),
        ({"scheduler_opts": {"allowed_session_types": ["batch"]}}, "batch", None),
        ({"scheduler_opts": {"allowed_session_types": None}}, "batch", None),
        ({"is_public": False}, "batch", "does not exist or you do not have access to"),
        ({"is_active": False}, "batch", "does not exist or you do not have access to"),
        ({"scheduler_opts": {}}, "system", "does not accept the session type 'system'"),
        ({"scheduler_opts": {}, "is_public": False}, "system", "does not accept the session type 'system'"),
        ({"scheduler_opts": {"allowed_session_types": ["batch"]}}, "system", "does not accept the session type"),
        ({"scheduler_opts": {"allowed_session_types": ["system"]}}, "system", None),
        ({"scheduler_opts": {"allowed_session_types": ["system"]}, "is_public": False}, "system", None),
        ({"scheduler_opts": {"allowed_session_types": ["system"]}}, "batch", "does not accept the session type"),
    ],
)
async def test_a_scaling_group_takes_only_what_it_says(
    me: Caller, seed: Seed, begin: Begin, group: dict[str, Any], kind: str, message: str | None
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.update().values(**group))
    for named in (None, seed.scaling_group):
        command = "true" if kind == "batch" else None
        asked = body(seed, f"train-{named}", type=kind, startupCommand=command, config={"scaling_group": named})
        status, answer = await me.call("POST", "/session", asked)
        assert status == (201 if message is None else 404)
        assert message is None or named is None or message in answer["msg"]
    shown = (await me.call("GET", "/scaling-groups?group=default"))[1]["scaling_groups"]
    assert bool(shown) == ("is_public" not in group and "is_active" not in group)


ENDS_OTHERS = {"enabled": True, "victim_scope": "any"}


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 100),
        ({"preemption": {"enabled": True}}, 100),
        ({"preemption": ENDS_OTHERS | {"enabled": False}}, 100),
        ({"preemption": ENDS_OTHERS}, 10),
        ({"preemption": ENDS_OTHERS, "max_user_priority": 30}, 30),
        ({"max_user_priority": 0}, 10),
    ],
)
async def test_users_ask_for_no_higher_priority_than_the_scaling_group_lets_them(
    me: Caller, admin: Caller, seed: Seed, begin: Begin, options: dict[str, Any], most: int
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts=options))
    assert (await me.call("POST", "/session", body(seed, "most", priority=most)))[0] == 201
    if most < 100:
        status, problem = await me.call("POST", "/session", body(seed, "more", priority=most + 1))
        assert (status, problem["data"]) == (400, {"priority": f"value is greater than {most}"})
        assert (await me.call("POST", "/session/_/explain", body(seed, priority=most + 1)))[0] == 400
    assert (await admin.call("POST", "/session", body(seed, "highest", priority=100)))[0] == 201
    asked_for_me = body(seed, "for-me", priority=100, owner_access_key=seed.user.access_key)
    assert (await admin.call("POST", "/session", asked_for_me))[0] == 201
