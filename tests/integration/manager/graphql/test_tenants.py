"""Domains, projects and keypairs: who may change them, what may be written, and what is refused."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from tests.integration.manager.graphql.made import DONE, Door, add_person, mutate

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    audit_log,
    domains,
    keypair_resource_policies,
    keypairs,
    project_resource_policies,
    projects,
)
from caravan_manager.people.model import Principal, UserRole

FIELDS = "name description is_active total_resource_slots allowed_vfolder_hosts integration_id"
DOMAIN = f"""mutation($name: String!, $input: ModifyDomainInput!) {{
    modify_domain(name: $name, props: $input) {{ ok msg domain {{ {FIELDS} }} }} }}"""
PROJECT = f"""mutation($gid: UUID!, $input: ModifyGroupInput!) {{
    modify_group(gid: $gid, props: $input) {{ ok msg group {{ {FIELDS} resource_policy scaling_groups }} }} }}"""
KEYPAIR = """mutation($access_key: String!, $input: ModifyKeyPairInput!) {
    modify_keypair(access_key: $access_key, props: $input) { ok msg } }"""
READ_DOMAIN = f"query($name: String) {{ domain(name: $name) {{ {FIELDS} }} }}"
READ_PROJECT = f"query($id: UUID!) {{ group(id: $id) {{ {FIELDS} resource_policy scaling_groups }} }}"
READ_KEYPAIR = """query($k: String) { keypair(access_key: $k) {
    resource_policy is_active is_admin rate_limit } }"""
LIMITS = {"cpu": "4", "mem": "2g", "cuda.shares": None, "cuda.shares@NVIDIA A100": 2}
KEPT = {"cpu": "4", "mem": "2147483648", "cuda.shares@NVIDIA A100": "2"}


async def domain(door: Door, caller: Principal, name: str = "default") -> Any:
    return (await door.data(caller, READ_DOMAIN, name=name))["domain"]


async def project(door: Door, caller: Principal, id_: UUID) -> Any:
    return (await door.data(caller, READ_PROJECT, id=str(id_)))["group"]


async def keypair(door: Door, caller: Principal, access_key: str) -> Any:
    return (await door.data(caller, READ_KEYPAIR, k=access_key))["keypair"]


@pytest.fixture
async def boss(begin: Begin, user: Principal) -> Principal:
    """The administrator of the domain in which everything is."""
    return await add_person(begin, user, "chief", UserRole.ADMIN, "AKIATESTCHIEFAAAAAAA", "default")


async def test_a_superadmin_gives_a_domain_a_quota(door: Door, admin: Principal, user: Principal) -> None:
    before = await domain(door, user)
    changed = await mutate(door, admin, DOMAIN, name="default", input={"total_resource_slots": json.dumps(LIMITS)})
    assert json.loads(changed["domain"]["total_resource_slots"]) == KEPT
    kept = await domain(door, user)
    assert json.loads(kept["total_resource_slots"]) == KEPT, "its users see it"
    assert kept == before | {"total_resource_slots": kept["total_resource_slots"]}, "the rest is as it was"
    hosts = {"local:volume1": ["create-vfolder"]}
    change = {"description": "ours", "allowed_vfolder_hosts": json.dumps(hosts), "integration_id": "d-1"}
    await mutate(door, admin, DOMAIN, name="default", input=change | {"is_active": None})
    assert (await domain(door, user)).items() >= change.items()
    assert (await mutate(door, admin, DOMAIN, name="default", input={"total_resource_slots": "{}"}))["ok"]
    assert (await domain(door, user))["total_resource_slots"] == "{}"


async def test_administrators_give_a_project_a_quota(
    door: Door, admin: Principal, boss: Principal, user: Principal, seed: Any
) -> None:
    before = await project(door, user, seed.project)
    for caller, limit in ((admin, "3"), (boss, "5")):
        slots = json.dumps({"cuda.shares": limit})
        changed = await mutate(door, caller, PROJECT, gid=str(seed.project), input={"total_resource_slots": slots})
        assert changed["ok"]
        assert changed["group"] == before | {"total_resource_slots": slots}
        assert await project(door, user, seed.project) == changed["group"]
    change = {"name": "renamed", "description": "ours", "is_active": False, "integration_id": "p-1"}
    assert (await mutate(door, boss, PROJECT, gid=str(seed.project), input=change))["ok"]
    assert (await project(door, user, seed.project)).items() >= change.items()


async def test_a_keypair_gets_another_policy(door: Door, admin: Principal, user: Principal, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(keypair_resource_policies.insert().values(name="large"))
    before = await keypair(door, admin, user.access_key)
    change = {"resource_policy": "large", "rate_limit": 5, "is_admin": None}
    assert await mutate(door, admin, KEYPAIR, access_key=user.access_key, input=change) == DONE
    kept = before | {"resource_policy": "large", "rate_limit": 5}
    assert await keypair(door, admin, user.access_key) == kept
    assert await mutate(door, admin, KEYPAIR, access_key=user.access_key, input={"is_active": False}) == DONE
    assert await keypair(door, admin, user.access_key) == kept | {"is_active": False}
    assert await mutate(door, admin, KEYPAIR, access_key=user.access_key, input={}) == DONE


async def test_changes_are_in_the_audit_log(
    door: Door, admin: Principal, boss: Principal, begin: Begin, seed: Any
) -> None:
    await mutate(door, admin, DOMAIN, name="default", input={"total_resource_slots": '{"cpu": "1"}'})
    await mutate(door, boss, PROJECT, gid=str(seed.project), input={"description": "ours"})
    await mutate(door, admin, KEYPAIR, access_key=boss.access_key, input={"rate_limit": 7})
    columns = (audit_log.c.actor, audit_log.c.action, audit_log.c.target_type, audit_log.c.target, audit_log.c.facts)
    async with begin() as tx:
        lines = [tuple(line) for line in await tx.execute(select(*columns).order_by(audit_log.c.id))]
    assert lines == [
        (admin.user_id, "domain.change", "domain", "default", {"total_resource_slots": {"cpu": "1"}}),
        (boss.user_id, "project.change", "project", str(seed.project), {"description": "ours"}),
        (admin.user_id, "keypair.change", "keypair", boss.access_key, {"rate_limit": 7}),
    ]


async def test_nobody_changes_what_they_do_not_administrate(
    door: Door, admin: Principal, boss: Principal, user: Principal, domain_admin: Principal, seed: Any
) -> None:
    def refused(field: str) -> dict[str, object]:
        return {"ok": False, "msg": f"no permission to execute {field}"}

    before = (
        await domain(door, admin),
        await project(door, admin, seed.project),
        await keypair(door, admin, user.access_key),
    )
    slots = {"total_resource_slots": "{}", "description": "mine"}
    for caller in (user, boss, domain_admin):
        answer = await mutate(door, caller, DOMAIN, name=caller.domain_name, input=slots)
        assert answer == refused("modify_domain") | {"domain": None}
        answer = await mutate(door, caller, KEYPAIR, access_key=caller.access_key, input={"is_admin": True})
        assert answer == refused("modify_keypair")
    for caller, which in ((user, seed.project), (domain_admin, seed.project), (domain_admin, uuid4())):
        answer = await mutate(door, caller, PROJECT, gid=str(which), input=slots)
        assert answer == refused("modify_group") | {"group": None}
    after = (
        await domain(door, admin),
        await project(door, admin, seed.project),
        await keypair(door, admin, user.access_key),
    )
    assert after == before


async def test_what_is_not_there_is_refused(door: Door, admin: Principal, user: Principal, seed: Any) -> None:
    answer = await mutate(door, admin, DOMAIN, name="nowhere", input={"description": "x"})
    assert answer == {"ok": False, "msg": "there is no domain nowhere", "domain": None}
    answer = await mutate(door, admin, PROJECT, gid=str(UUID(int=1)), input={"description": "x"})
    assert answer == {"ok": False, "msg": f"there is no project {UUID(int=1)}", "group": None}
    answer = await mutate(door, admin, KEYPAIR, access_key="AKIANOBODY", input={"is_admin": False})
    assert answer == {"ok": False, "msg": "there is no keypair AKIANOBODY"}
    answer = await mutate(door, admin, KEYPAIR, access_key=user.access_key, input={"resource_policy": "none"})
    assert answer == {"ok": False, "msg": "there is no keypair resource policy none"}
    answer = await mutate(door, admin, PROJECT, gid=str(seed.project), input={"resource_policy": "none"})
    assert "no such project resource policy" in answer["msg"]


async def test_names_that_nothing_can_have_are_refused(door: Door, admin: Principal) -> None:
    name = "x" * 65
    for document, which in ((DOMAIN, {"name": name}), (KEYPAIR, {"access_key": name})):
        answer = await mutate(door, admin, document, **which, input={"is_active": True})
        assert (answer["ok"], "cannot be" in answer["msg"]) == (False, True), answer


async def test_a_form_sends_back_what_there_is(
    door: Door, admin: Principal, boss: Principal, user: Principal, begin: Begin, seed: Any
) -> None:
    """Forms send all that they show, changed or not, and what they have nothing for."""
    async with begin() as tx:
        await tx.execute(domains.update().values(allowed_docker_registries=["registry.example"]))
    for registries in (["registry.example"], [], None):
        same = {"name": "default", "allowed_docker_registries": registries, "description": "ours"}
        answer = await mutate(door, admin, DOMAIN, name="default", input=same)
        assert (answer["msg"], answer["domain"]["description"]) == ("success", "ours")
    of = await project(door, admin, seed.project)
    for caller in (admin, boss):
        same = {field: of[field] for field in ("resource_policy", "allowed_vfolder_hosts", "integration_id")}
        same |= {"name": "default", "domain_name": "default", "user_update_mode": "", "user_uuids": []}
        answer = await mutate(door, caller, PROJECT, gid=str(seed.project), input=same | {"description": "ours"})
        assert (answer["msg"], answer["group"]) == ("success", of | {"description": "ours"})
    kept = await keypair(door, admin, user.access_key)
    assert await mutate(door, admin, KEYPAIR, access_key=user.access_key, input=kept) == DONE


async def test_a_project_keeps_a_name_that_nobody_could_give_it(
    door: Door, boss: Principal, begin: Begin, seed: Any
) -> None:
    async with begin() as tx:
        await tx.execute(projects.update().values(name="an old one"))
    assert (await mutate(door, boss, PROJECT, gid=str(seed.project), input={"name": "an old one"}))["ok"]


@pytest.mark.parametrize(
    "given", [{"allowed_vfolder_hosts": '{"local:volume1": ["create-vfolder"]}'}, {"resource_policy": "large"}]
)
async def test_storage_and_policies_of_projects_are_the_superadmins_to_give(
    door: Door, admin: Principal, boss: Principal, begin: Begin, seed: Any, given: dict[str, str]
) -> None:
    async with begin() as tx:
        await tx.execute(project_resource_policies.insert().values(name="large"))
    (field,), before = given, await project(door, admin, seed.project)
    answer = await mutate(door, boss, PROJECT, gid=str(seed.project), input=given | {"description": "mine"})
    assert answer == {"ok": False, "msg": f"{field}: only superadmins change it", "group": None}
    assert await project(door, admin, seed.project) == before
    assert (await mutate(door, admin, PROJECT, gid=str(seed.project), input=given))["ok"]
    assert await project(door, boss, seed.project) == before | given


async def test_a_keypair_makes_nobody_an_administrator(
    door: Door, admin: Principal, boss: Principal, user: Principal, begin: Begin
) -> None:
    answer = await mutate(door, admin, KEYPAIR, access_key=user.access_key, input={"is_admin": True, "rate_limit": 7})
    message = f"is_admin: a keypair has the rights of its user, and the role of {user.email} is user"
    assert answer == {"ok": False, "msg": message}
    assert (await keypair(door, admin, user.access_key))["rate_limit"] != 7
    for caller in (boss, admin):
        which = {"access_key": caller.access_key}
        assert await mutate(door, admin, KEYPAIR, **which, input={"is_admin": True}) == DONE, "as the role says"
        assert (await keypair(door, admin, caller.access_key))["is_admin"]
        answer = await mutate(door, admin, KEYPAIR, **which, input={"is_admin": False})
        assert answer["msg"].endswith(f"the role of {caller.email} is {caller.role.value}")
    async with begin() as tx:
        await tx.execute(keypairs.update().where(keypairs.c.access_key == user.access_key).values(is_admin=True))
    which = {"access_key": user.access_key}
    for is_admin in (True, False):
        assert await mutate(door, admin, KEYPAIR, **which, input={"is_admin": is_admin}) == DONE, "what there is"
    assert not (await mutate(door, admin, KEYPAIR, **which, input={"is_admin": True}))["ok"]


async def test_two_projects_of_a_domain_have_two_names(door: Door, admin: Principal, begin: Begin, seed: Any) -> None:
    async with begin() as tx:
        made = {"id": uuid4(), "name": "second", "domain_name": "default", "resource_policy": "default"}
        await tx.execute(projects.insert().values(**made))
    answer = await mutate(door, admin, PROJECT, gid=str(seed.project), input={"name": "second"})
    assert answer["msg"].startswith("the name is another project's of the domain")


async def test_nobody_shuts_themselves_out(door: Door, admin: Principal) -> None:
    answer = await mutate(door, admin, DOMAIN, name="default", input={"is_active": False})
    assert answer["msg"] == "nobody of the domain default could come in any more, you neither"
    answer = await mutate(door, admin, KEYPAIR, access_key=admin.access_key, input={"is_active": False})
    assert answer["msg"] == "this is the keypair that you came in with; use another one to deactivate it"
    assert (await domain(door, admin))["is_active"]
    assert (await keypair(door, admin, admin.access_key))["is_active"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"total_resource_slots": "[]"}, "total_resource_slots is an object in JSON"),
        ({"total_resource_slots": '{"cpu": "x"}'}, "not an amount of cpu"),
        ({"total_resource_slots": '{"cpu": "-1"}'}, "not a possible amount of cpu"),
        ({"total_resource_slots": '{"Bad Slot": "1"}'}, "not a name of a resource slot"),
        ({"total_resource_slots": '{"cuda.shares@": "1"}'}, "names no model"),
        ({"allowed_vfolder_hosts": '{"local:volume1": ["fly"]}'}, "the rights on local:volume1 are a list of"),
        ({"allowed_vfolder_hosts": json.dumps({"\ud800": []})}, "cannot be the name of a host"),
        ({"description": "x" * 1025}, "description is a text of at most 1024 characters"),
        ({"integration_id": "x" * 513}, "integration_id is a text of at most 512 characters"),
    ],
)
async def test_values_that_cannot_be_are_refused_and_nothing_is_written(
    door: Door, admin: Principal, seed: Any, wrong: dict[str, Any], message: str
) -> None:
    before = (await domain(door, admin), await project(door, admin, seed.project))
    for document, which in ((DOMAIN, {"name": "default"}), (PROJECT, {"gid": str(seed.project)})):
        answer = await mutate(door, admin, document, **which, input={"description": "new"} | wrong)
        assert not answer["ok"]
        assert message in answer["msg"]
    assert (await domain(door, admin), await project(door, admin, seed.project)) == before


@pytest.mark.parametrize(
    ("document", "wrong", "message"),
    [
        (DOMAIN, {"name": "other"}, "name: a domain keeps its name"),
        (DOMAIN, {"allowed_docker_registries": ["x"]}, "allowed_docker_registries: which images"),
        (PROJECT, {"domain_name": "elsewhere"}, "domain_name: a project stays in its domain"),
        (PROJECT, {"user_update_mode": "add", "user_uuids": []}, "user_update_mode: who belongs to a project"),
        (PROJECT, {"user_uuids": ["u"]}, "user_uuids: who belongs to a project"),
        (PROJECT, {"container_registry": '{"registry": "r"}'}, "container_registry: a project has no registry"),
        (PROJECT, {"name": "no name"}, "name: 'no name' has other characters"),
        (PROJECT, {"name": "x" * 65}, "name is a text of at most 64 characters"),
        (KEYPAIR, {"concurrency_limit": 5}, "concurrency_limit: max_concurrent_sessions of the keypair's"),
        (KEYPAIR, {"rate_limit": 0}, "rate_limit is a number from 1"),
        (KEYPAIR, {"rate_limit": 2**31 - 1, "resource_policy": "x" * 257}, "resource_policy is a text of at most 256"),
    ],
)
async def test_what_nobody_would_look_at_is_refused(
    door: Door, admin: Principal, user: Principal, seed: Any, document: str, wrong: dict[str, Any], message: str
) -> None:
    named = {"name": "default", "gid": str(seed.project), "access_key": user.access_key}
    which = {name: value for name, value in named.items() if f"${name}:" in document}
    answer = await mutate(door, admin, document, **which, input=wrong)
    assert not answer["ok"]
    assert message in answer["msg"]
