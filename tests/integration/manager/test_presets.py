"""Presets and policies over HTTP: what a caller could have now, and who is shown what."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.manager.graphql.made import add_node, add_sessions, running

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import keypair_resource_policies, resource_presets, scaling_groups

Presets = dict[str, dict[str, Any]]


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator["TestClient[Any, Any]", None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


@pytest.fixture
async def presets(begin: Begin, seed: Seed) -> None:
    """Three presets for everybody, one for a scaling group, and a node of 9 cores of which 2 are taken."""
    await add_node(begin)
    await add_sessions(begin, *(running(p, seed.project, p.username) for p in (seed.user, seed.admin)))
    offered = {"fits": ("2", None), "all": ("7", None), "too-large": ("8", None), "elsewhere": ("1", "other")}
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="other"))
        for name, (cpu, group) in offered.items():
            slots = {"cpu": cpu, "mem": "1073741824"}
            preset = {"id": uuid4(), "name": name, "resource_slots": slots, "scaling_group": group}
            await tx.execute(resource_presets.insert().values(**preset, shared_memory=64 << 20))


async def test_presets_are_those_for_all_scaling_groups_and_for_the_one_named(me: Caller, presets: None) -> None:
    status, answer = await me.call("GET", "/resource/presets")
    assert status == 200
    assert [preset["name"] for preset in answer["presets"]] == ["all", "fits", "too-large"]
    assert answer["presets"][1].items() >= {"shared_memory": str(64 << 20)}.items()
    _, answer = await me.call("GET", "/resource/presets?scaling_group=other")
    assert [preset["name"] for preset in answer["presets"]] == ["all", "elsewhere", "fits", "too-large"]


async def test_what_the_caller_could_have_now(me: Caller, presets: None) -> None:
    status, answer = await me.call("POST", "/resource/check-presets", {"group": "default"})
    assert status == 200
    assert answer["keypair_using"] == {"cpu": "1", "mem": "536870912"}
    assert answer["keypair_remaining"] == {"cpu": "Infinity", "mem": "Infinity"}
    assert answer["group_using"]["cpu"] == "2"
    assert answer["scaling_group_remaining"]["cpu"] == "7"
    assert answer["scaling_groups"]["default"]["using"]["cpu"] == "1"
    allocatable = {preset["name"]: preset["allocatable"] for preset in answer["presets"]}
    assert allocatable == {"fits": True, "all": True, "too-large": False}


async def test_a_policy_bounds_what_the_caller_could_have(me: Caller, presets: None, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(keypair_resource_policies.update().values(total_resource_slots={"cpu": "2"}))
    _, answer = await me.call("POST", "/resource/check-presets", {"group": "default", "scaling_group": "default"})
    assert (answer["keypair_limits"]["cpu"], answer["keypair_remaining"]["cpu"]) == ("2", "1")
    assert not any(preset["allocatable"] for preset in answer["presets"])


@pytest.mark.parametrize(
    ("body", "status"), [({"group": "no-such-project"}, 404), ({"group": "default", "scaling_group": "other"}, 400)]
)
async def test_what_the_caller_may_not_use_is_refused(
    me: Caller, presets: None, body: dict[str, str], status: int
) -> None:
    assert (await me.call("POST", "/resource/check-presets", body))[0] == status


async def test_a_user_is_shown_the_own_policy_and_an_administrator_all(
    client: "TestClient[Any, Any]", me: Caller, seed: Seed, begin: Begin
) -> None:
    async with begin() as tx:
        await tx.execute(keypair_resource_policies.insert().values(name="generous"))
    query = (
        '{ keypair_resource_policies { name } keypair_resource_policy(name: "generous") { max_concurrent_sessions } }'
    )
    admin = Caller(client, seed.admin.access_key, seed.admin_secret)
    _, mine = await me.call("POST", "/admin/gql", {"query": query})
    _, all_ = await admin.call("POST", "/admin/gql", {"query": query})
    assert [policy["name"] for policy in mine["data"]["keypair_resource_policies"]] == ["default"]
    assert mine["data"]["keypair_resource_policy"] is None
    assert [policy["name"] for policy in all_["data"]["keypair_resource_policies"]] == ["default", "generous"]
    assert all_["data"]["keypair_resource_policy"] == {"max_concurrent_sessions": 30}


async def test_presets_in_graphql(me: Caller, presets: None) -> None:
    chosen = 'resource_presets(filter: "name != \\"all\\"", order: "-name") { name scaling_group_name }'
    query = f'{{ {chosen} resource_preset(name: "fits") {{ shared_memory }} }}'
    _, answer = await me.call("POST", "/admin/gql", {"query": query})
    assert [preset["name"] for preset in answer["data"]["resource_presets"]] == ["too-large", "fits", "elsewhere"]
    assert answer["data"]["resource_presets"][2]["scaling_group_name"] == "other"
    assert answer["data"]["resource_preset"]["shared_memory"] == 64 << 20
