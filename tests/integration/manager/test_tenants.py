"""What is changed of domains, projects and keypairs holds for those who come in and create sessions."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_session_life import Manager
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import keypair_resource_policies

DOMAIN = "mutation($w: String!, $i: ModifyDomainInput!) { modify_domain(name: $w, props: $i) { ok msg } }"
PROJECT = "mutation($w: UUID!, $i: ModifyGroupInput!) { modify_group(gid: $w, props: $i) { ok msg } }"
KEYPAIR = "mutation($w: String!, $i: ModifyKeyPairInput!) { modify_keypair(access_key: $w, props: $i) { ok msg } }"
LIMIT = {"total_resource_slots": '{"cpu": "1"}'}


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator["TestClient[Any, Any]", None]:
    async with serving_api(begin, remember_seconds=3600) as client:
        yield client


@pytest.fixture
def me(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


@pytest.fixture
def boss(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.admin.access_key, seed.admin_secret)


async def change(boss: Caller, document: str, who: str, **props: object) -> None:
    body = {"query": document, "variables": {"w": who, "i": props}}
    status, answer = await boss.call("POST", "/admin/gql", body)
    (told,) = answer["data"].values()
    assert (status, told) == (200, {"ok": True, "msg": "success"})


def wanted(seed: Seed, name: str = "train", **changes: object) -> dict[str, object]:
    config = {"resources": {"cpu": "2", "mem": "256m"}}
    return {"name": name, "image": seed.image_reference, "enqueueOnly": True, "config": config} | changes


@pytest.mark.parametrize(("document", "holder"), [(DOMAIN, "domain"), (PROJECT, "project")])
async def test_a_session_that_would_pass_a_quota_waits_until_it_is_raised(
    me: Caller, boss: Caller, manager: Manager, seed: Seed, document: str, holder: str
) -> None:
    who = {"domain": "default", "project": str(seed.project)}[holder]
    await manager.add_node()
    await change(boss, document, who, **LIMIT)
    assert (await me.call("POST", "/session", wanted(seed)))[0] == 201
    await manager.schedule()
    status, told = await me.call("GET", "/session/train/explain")
    assert (status, told["verdict"]) == (200, "waits")
    assert f"{holder} default has 0 cpu, this asks for 2" in told["reasons"][0]["text"]
    await change(boss, document, who, total_resource_slots='{"cpu": "2"}')
    await manager.schedule()
    status, told = await me.call("GET", "/session/train/explain")
    assert (status, told["verdict"]) == (200, "not-in-queue")


async def test_a_project_shows_the_quota_that_it_got(me: Caller, boss: Caller, seed: Seed) -> None:
    await change(boss, PROJECT, str(seed.project), **LIMIT)
    _, answer = await me.call("POST", "/resource/check-presets", {"group": "default"})
    assert (answer["group_limits"]["cpu"], answer["group_remaining"]["cpu"]) == ("1", "1")


async def test_a_keypairs_other_policy_holds_at_once(me: Caller, boss: Caller, begin: Begin, seed: Seed) -> None:
    asked = wanted(seed, cluster_size=2)
    assert (await me.call("POST", "/session", asked))[0] == 412
    async with begin() as tx:
        policy = {"name": "large", "max_containers_per_session": 2, "total_resource_slots": {"cpu": "8"}}
        await tx.execute(keypair_resource_policies.insert().values(**policy))
    await change(boss, KEYPAIR, seed.user.access_key, resource_policy="large")
    assert (await me.call("POST", "/session", asked))[0] == 201
    query = {"query": "{ keypair_resource_policy { name total_resource_slots } }"}
    _, answer = await me.call("POST", "/admin/gql", query)
    mine = {"name": "large", "total_resource_slots": '{"cpu": "8"}'}
    assert answer["data"]["keypair_resource_policy"] == mine, "nobody remembers the former one"


async def test_an_inactive_keypair_lets_nobody_in(me: Caller, boss: Caller, seed: Seed) -> None:
    assert (await me.call("GET", "/auth/role"))[0] == 200
    await change(boss, KEYPAIR, seed.user.access_key, is_active=False)
    assert (await me.call("GET", "/auth/role"))[0] == 401
    await change(boss, KEYPAIR, seed.user.access_key, is_active=True)
    assert (await me.call("GET", "/auth/role"))[0] == 200


async def test_an_inactive_project_takes_no_session(me: Caller, boss: Caller, seed: Seed) -> None:
    await change(boss, PROJECT, str(seed.project), is_active=False)
    assert (await me.call("POST", "/session", wanted(seed)))[0] == 400
    await change(boss, PROJECT, str(seed.project), is_active=True)
    assert (await me.call("POST", "/session", wanted(seed)))[0] == 201
