"""In which scaling groups sessions may be: what is open to their domain, their project or their keypair."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient
from sqlalchemy import Table
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    project_members,
    projects,
    scaling_groups,
    scaling_groups_of_domains,
    scaling_groups_of_keypairs,
    scaling_groups_of_projects,
)


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator["TestClient[Any, Any]", None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


@pytest.fixture
async def world(begin: Begin, seed: Seed) -> None:
    """A scaling group `gpu` that is open to nobody, and a second project of the user."""
    second = uuid4()
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="gpu"))
        await tx.execute(
            projects.insert().values(id=second, name="second", domain_name="default", resource_policy="default")
        )
        await tx.execute(project_members.insert().values(project_id=second, user_id=seed.user.user_id))


def wanted(seed: Seed, group: str | None, project: str = "default") -> dict[str, Any]:
    config = {"resources": {"cpu": "1", "mem": "256m"}, "scaling_group": group}
    asked = {"image": seed.image_reference, "type": "interactive", "enqueueOnly": True, "group": project}
    return asked | {"name": f"in-{project}-{uuid4().hex[:8]}", "config": config}


async def may_use(me: Caller, seed: Seed, project: str) -> dict[str, bool]:
    """Return by which ways the caller may use the group `gpu` in a project."""
    listed = (await me.call("GET", f"/scaling-groups?group={project}"))[1]["scaling_groups"]
    asked = {"group": project, "scaling_group": "gpu"}
    checked, _ = await me.call("POST", "/resource/check-presets", asked)
    offered = (await me.call("POST", "/resource/check-presets", {"group": project}))[1]["scaling_groups"]
    made, answer = await me.call("POST", "/session", wanted(seed, "gpu", project))
    assert made in {201, 404}
    if made == 404:
        told = "the scaling group 'gpu' does not exist or you do not have access to the scaling group 'gpu'."
        assert told in str(answer)
    explained, _ = await me.call("POST", "/session/_/explain", wanted(seed, "gpu", project))
    return {
        "listed": {"name": "gpu"} in listed,
        "checked": checked == 200,
        "offered": "gpu" in offered,
        "made": made == 201,
        "explained": explained == 200,
    }


NO, YES = {False}, {True}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("table", "where"),
    [
        (scaling_groups_of_domains, {"default", "second"}),
        (scaling_groups_of_projects, {"default"}),
        (scaling_groups_of_keypairs, {"default", "second"}),
    ],
)
async def test_a_group_is_used_by_those_to_whom_it_is_open(
    me: Caller, client: "TestClient[Any, Any]", seed: Seed, begin: Begin, table: Table, where: set[str]
) -> None:
    assert set((await may_use(me, seed, "default")).values()) == NO
    guest = {"domain_name": "default", "project_id": seed.project, "access_key": seed.user.access_key}
    (column,) = [name for name in guest if name in table.c]
    async with begin() as tx:
        await tx.execute(table.insert().values(scaling_group="gpu", **{column: guest[column]}))
    for project in ("default", "second"):
        assert set((await may_use(me, seed, project)).values()) == (YES if project in where else NO)
    admin = Caller(client, seed.admin.access_key, seed.admin_secret)
    others = set((await may_use(admin, seed, "default")).values())
    assert others == (NO if table is scaling_groups_of_keypairs else YES), "another keypair in the same project"


@pytest.mark.usefixtures("world")
async def test_a_session_without_a_group_gets_one_that_is_open_to_its_project(
    me: Caller, seed: Seed, begin: Begin
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups_of_domains.delete())
        await tx.execute(scaling_groups_of_projects.insert().values(scaling_group="gpu", project_id=seed.project))
    status, _ = await me.call("POST", "/session", wanted(seed, None))
    assert status == 201
    status, answer = await me.call("POST", "/session", wanted(seed, None, "second"))
    assert (status, "You have no scaling groups allowed to use." in str(answer)) == (404, True)


@pytest.mark.usefixtures("world")
async def test_an_administrator_who_acts_for_a_user_uses_what_is_open_to_the_user(
    client: "TestClient[Any, Any]", seed: Seed, begin: Begin
) -> None:
    admin = Caller(client, seed.admin.access_key, seed.admin_secret)
    asked = wanted(seed, "gpu") | {"owner_access_key": seed.user.access_key}
    assert (await admin.call("POST", "/session", asked))[0] == 404
    async with begin() as tx:
        opened = {"scaling_group": "gpu", "access_key": seed.user.access_key}
        await tx.execute(scaling_groups_of_keypairs.insert().values(**opened))
    assert (await admin.call("POST", "/session", asked))[0] == 201
    assert (await admin.call("POST", "/session", wanted(seed, "gpu")))[0] == 404
