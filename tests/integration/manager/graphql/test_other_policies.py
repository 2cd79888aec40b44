"""Policies of users and of projects: who sees which, who writes them, and what is refused."""

from typing import Any

import pytest
from sqlalchemy import select
from tests.integration.manager.graphql.made import DONE, Door, mutate

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, keypair_resource_policies, user_resource_policies
from caravan_manager.people.model import Principal

OWN = {
    "user": {"max_session_count_per_model_session": 3, "max_customized_image_count": 4},
    "project": {"max_network_count": -1},
}
KINDS = ["user", "project"]


def given(kind: str) -> dict[str, Any]:
    return {"max_vfolder_count": 2, "max_quota_scope_size": -1} | OWN[kind]


def type_of(kind: str) -> str:
    return f"{kind.title()}ResourcePolicy"


def create(kind: str) -> str:
    fields = " ".join(["id", "name", "max_vfolder_size", *given(kind)])
    return f"""mutation($name: String!, $input: Create{type_of(kind)}Input!) {{
        create_{kind}_resource_policy(name: $name, props: $input) {{ ok msg resource_policy {{ {fields} }} }} }}"""


def modify(kind: str) -> str:
    return f"""mutation($name: String!, $input: Modify{type_of(kind)}Input!) {{
        modify_{kind}_resource_policy(name: $name, props: $input) {{ ok msg }} }}"""


def delete(kind: str) -> str:
    return f"mutation($name: String!) {{ delete_{kind}_resource_policy(name: $name) {{ ok msg }} }}"


async def policy(door: Door, caller: Principal, kind: str, name: str) -> Any:
    fields = " ".join(["name", *given(kind)])
    query = f"query($name: String!) {{ {kind}_resource_policy(name: $name) {{ {fields} }} }}"
    return (await door.data(caller, query, name=name))[f"{kind}_resource_policy"]


async def names(door: Door, caller: Principal, kind: str) -> list[str]:
    found = await door.data(caller, f"{{ {kind}_resource_policies {{ name }} }}")
    return [each["name"] for each in found[f"{kind}_resource_policies"]]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_superadmin_makes_changes_and_deletes_a_policy(
    door: Door, admin: Principal, begin: Begin, kind: str
) -> None:
    made = await mutate(door, admin, create(kind), name="p1", input=given(kind))
    shown = {"id": f"{type_of(kind)}:p1", "name": "p1", "max_vfolder_size": None} | given(kind)
    assert made == DONE | {"resource_policy": shown}
    change = {"max_vfolder_count": 7, "max_quota_scope_size": None}
    assert await mutate(door, admin, modify(kind), name="p1", input=change) == DONE
    assert await policy(door, admin, kind, "p1") == {"name": "p1"} | given(kind) | {"max_vfolder_count": 7}
    assert await mutate(door, admin, delete(kind), name="p1") == DONE
    assert await policy(door, admin, kind, "p1") is None
    async with begin() as tx:
        lines = (await tx.execute(select(audit_log.c.action, audit_log.c.target).order_by(audit_log.c.id))).all()
    assert [tuple(line) for line in lines] == [(f"{kind}-policy.{act}", "p1") for act in ("create", "change", "delete")]


@pytest.mark.parametrize("kind", KINDS)
async def test_others_see_their_own_policy_and_write_none(
    door: Door, admin: Principal, user: Principal, domain_admin: Principal, other: Principal, kind: str
) -> None:
    await mutate(door, admin, create(kind), name="p1", input=given(kind))
    assert await names(door, user, kind) == ["default"]
    assert await names(door, other, kind) == (["default"] if kind == "user" else []), "who is in no project"
    assert await policy(door, user, kind, "p1") is None
    for caller in (admin, domain_admin):
        assert await names(door, caller, kind) == ["default", "p1"]
    for caller in (user, domain_admin):
        for document, act, inputs in (
            (create(kind), "create", {"input": given(kind)}),
            (modify(kind), "modify", {"input": {"max_vfolder_count": 0}}),
            (delete(kind), "delete", {}),
        ):
            answer = await mutate(door, caller, document, name="p1", **inputs)
            assert answer["msg"] == f"no permission to execute {act}_{kind}_resource_policy"
    assert await policy(door, admin, kind, "p1") == {"name": "p1"} | given(kind)


async def test_the_own_policy_is_seen_however_many_there_are(door: Door, user: Principal, begin: Begin) -> None:
    async with begin() as tx:
        for of in (user_resource_policies, keypair_resource_policies):
            await tx.execute(of.insert(), [{"name": f"a{number}"} for number in range(1000)])
    assert await names(door, user, "user") == ["default"]
    assert await names(door, user, "keypair") == ["default"]


@pytest.mark.parametrize("kind", KINDS)
async def test_names_that_no_policy_has_are_refused(door: Door, admin: Principal, kind: str) -> None:
    name = "p" * 257
    for document, inputs in ((create(kind), {"input": {}}), (modify(kind), {"input": {}}), (delete(kind), {})):
        answer = await mutate(door, admin, document, name=name, **inputs)
        assert (answer["ok"], "cannot be the name of a policy" in answer["msg"]) == (False, True), answer


@pytest.mark.parametrize("kind", KINDS)
async def test_the_longest_name_of_a_policy_can_be_kept(door: Door, admin: Principal, kind: str) -> None:
    for document, inputs in ((create(kind), {"input": {}}), (modify(kind), {"input": {}}), (delete(kind), {})):
        assert (await mutate(door, admin, document, name="p" * 256, **inputs))["ok"]


async def test_a_user_asks_for_the_policy_without_its_name(door: Door, user: Principal) -> None:
    data = await door.data(user, "{ user_resource_policy { id max_vfolder_count } }")
    assert data == {"user_resource_policy": {"id": "UserResourcePolicy:default", "max_vfolder_count": 10}}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_contradicts_what_there_is_is_refused(door: Door, admin: Principal, kind: str) -> None:
    taken = await mutate(door, admin, create(kind), name="default", input={})
    assert taken["msg"] == f"there is a {kind} resource policy default already"
    used = await mutate(door, admin, delete(kind), name="default")
    assert used == {"ok": False, "msg": f"{kind}s have the resource policy default; give them another one first"}
    for document, inputs in ((modify(kind), {"input": {"max_vfolder_count": 1}}), (delete(kind), {})):
        missing = await mutate(door, admin, document, name="nowhere", **inputs)
        assert missing == {"ok": False, "msg": f"there is no {kind} resource policy nowhere"}


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        ("user", {"max_vfolder_count": -1}, "max_vfolder_count is a number from 0"),
        ("user", {"max_quota_scope_size": -2}, "max_quota_scope_size is a number from -1"),
        ("user", {"max_session_count_per_model_session": -1}, "max_session_count_per_model_session is a number from 0"),
        ("user", {"max_customized_image_count": -1}, "max_customized_image_count is a number from 0"),
        ("project", {"max_vfolder_count": -1}, "max_vfolder_count is a number from 0"),
        ("project", {"max_quota_scope_size": 2**70}, "max_quota_scope_size is a number from -1"),
        ("project", {"max_network_count": -2}, "max_network_count is a number from -1"),
    ],
)
async def test_values_that_cannot_be_are_refused(
    door: Door, admin: Principal, kind: str, wrong: dict[str, int], message: str
) -> None:
    for document, name in ((create(kind), "p1"), (modify(kind), "default")):
        answer = await mutate(door, admin, document, name=name, input=given(kind) | wrong)
        assert not answer["ok"]
        assert message in answer["msg"]
    assert await policy(door, admin, kind, "p1") is None
    assert (await policy(door, admin, kind, "default"))["max_vfolder_count"] == 10


async def test_a_project_gets_another_policy(door: Door, admin: Principal, user: Principal, seed: Any) -> None:
    await mutate(door, admin, create("project"), name="p1", input={})
    change = "mutation($g: UUID!, $p: ModifyGroupInput!) { modify_group(gid: $g, props: $p) { ok msg } }"
    assert await mutate(door, admin, change, g=str(seed.project), p={"resource_policy": "p1"}) == DONE
    assert await names(door, user, "project") == ["p1"]
    assert (await mutate(door, admin, delete("project"), name="p1"))["msg"].startswith("projects have")
