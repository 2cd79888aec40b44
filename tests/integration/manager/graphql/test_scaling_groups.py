"""Scaling groups and nodes: who may change them, what may be written, and that it holds."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.integration.manager.graphql.made import DONE, Door, add_node, mutate

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, nodes, scaling_groups, scaling_groups_of_domains
from caravan_manager.people.model import Principal

FIELDS = (
    "name description is_active is_public wsproxy_addr driver driver_opts scheduler scheduler_opts use_host_network"
)
CREATE = f"""mutation($name: String!, $input: CreateScalingGroupInput!) {{
    create_scaling_group(name: $name, props: $input) {{ ok msg scaling_group {{ {FIELDS} }} }} }}"""
MODIFY = """mutation($name: String!, $input: ModifyScalingGroupInput!) {
    modify_scaling_group(name: $name, props: $input) { ok msg } }"""
DELETE = "mutation($name: String!) { delete_scaling_group(name: $name) { ok msg } }"
OPEN = """mutation($domain: String!, $name: String!) {
    associate_scaling_group_with_domain(domain: $domain, scaling_group: $name) { ok msg } }"""
OPEN_SOME = """mutation($domain: String!, $names: [String]!) {
    associate_scaling_groups_with_domain(domain: $domain, scaling_groups: $names) { ok msg } }"""
CLOSE = """mutation($domain: String!, $name: String!) {
    disassociate_scaling_group_with_domain(domain: $domain, scaling_group: $name) { ok msg } }"""
CLOSE_SOME = """mutation($domain: String!, $names: [String]!) {
    disassociate_scaling_groups_with_domain(domain: $domain, scaling_groups: $names) { ok msg } }"""
CLOSE_ALL = "mutation($domain: String!) { disassociate_all_scaling_groups_with_domain(domain: $domain) { ok msg } }"
CHANGE_NODE = "mutation($id: String!, $input: ModifyAgentInput!) { modify_agent(id: $id, props: $input) { ok msg } }"
READ = f"query($name: String) {{ scaling_group(name: $name) {{ {FIELDS} }} }}"
MINE = "{ scaling_groups { name } }"
OPTIONS = {"agent_selection_strategy": "dispersed", "preemption": {"enabled": True, "victim_scope": "any"}}
GIVEN: dict[str, Any] = {
    "description": "for large jobs",
    "driver": "static",
    "scheduler": "drf",
    "scheduler_opts": json.dumps(OPTIONS),
}


async def group(door: Door, admin: Principal, name: str) -> dict[str, Any] | None:
    found = (await door.data(admin, READ, name=name))["scaling_group"]
    if found is None:
        return None
    return {field: json.loads(v) if field.endswith("_opts") else v for field, v in found.items()}


async def names_for(door: Door, caller: Principal) -> list[str]:
    return [found["name"] for found in (await door.data(caller, MINE))["scaling_groups"]]


async def test_a_superadmin_makes_changes_and_deletes_a_group(door: Door, admin: Principal, begin: Begin) -> None:
    made = await mutate(door, admin, CREATE, name="large", input=GIVEN)
    assert (made["ok"], made["msg"], made["scaling_group"]["name"]) == (True, "success", "large")
    kept = await group(door, admin, "large")
    assert kept == {
        "name": "large", "description": "for large jobs", "is_active": True, "is_public": True, "wsproxy_addr": None,
        "driver": "static", "driver_opts": {}, "scheduler": "drf", "scheduler_opts": OPTIONS, "use_host_network": False,
    }  # fmt: skip
    change = {"is_active": False, "scheduler": "fair-share", "description": None, "wsproxy_addr": "http://10.0.0.1"}
    assert await mutate(door, admin, MODIFY, name="large", input=change) == DONE
    kept |= {"is_active": False, "scheduler": "fair-share", "wsproxy_addr": "http://10.0.0.1"}
    assert await group(door, admin, "large") == kept, "null leaves what there is"
    assert await mutate(door, admin, MODIFY, name="large", input={"scheduler_opts": "{}"}) == DONE
    assert await group(door, admin, "large") == kept | {"scheduler_opts": {}}
    assert await mutate(door, admin, MODIFY, name="large", input={}) == DONE
    assert await mutate(door, admin, DELETE, name="large") == DONE
    assert await group(door, admin, "large") is None
    async with begin() as tx:
        lines = (await tx.execute(select(audit_log.c.action, audit_log.c.target).order_by(audit_log.c.id))).all()
    actions = ["create", "change", "change", "change", "delete"]
    assert [tuple(line) for line in lines] == [(f"scaling-group.{action}", "large") for action in actions]


async def test_domains_use_what_is_opened_to_them(door: Door, admin: Principal, user: Principal) -> None:
    before = await names_for(door, user)
    for name in ("large", "small", "spare"):
        await mutate(door, admin, CREATE, name=name, input=GIVEN)
    assert await names_for(door, user) == before
    for _ in range(2):  # opened twice is opened
        assert await mutate(door, admin, OPEN, domain="default", name="large") == DONE
    assert await mutate(door, admin, OPEN_SOME, domain="default", names=["small", "spare", None]) == DONE
    assert await names_for(door, user) == sorted([*before, "large", "small", "spare"])
    assert await mutate(door, admin, CLOSE, domain="default", name="large") == DONE
    assert await mutate(door, admin, CLOSE_SOME, domain="default", names=["small"]) == DONE
    assert await names_for(door, user) == sorted([*before, "spare"])
    assert await mutate(door, admin, CLOSE, domain="default", name="large") == {
        "ok": False,
        "msg": "the domain default may use none of large",
    }
    assert await mutate(door, admin, CLOSE_ALL, domain="default") == DONE
    assert await names_for(door, user) == []
    for document, given in ((OPEN, {"name": "nowhere"}), (OPEN_SOME, {"names": ["spare", "nowhere"]})):
        missing = await mutate(door, admin, document, domain="default", **given)
        assert missing["msg"] == "there is no domain default, or one of the groups is not there"
    assert await names_for(door, user) == [], "all of them or none"
    for document in (OPEN_SOME, CLOSE_SOME):
        for names in ([], [None], ["g"] * 1001):
            answer = await mutate(door, admin, document, domain="default", names=names)
            assert answer == {"ok": False, "msg": "name from 1 to 1000 scaling groups"}


async def test_private_groups_are_shown_to_administrators(door: Door, admin: Principal, user: Principal) -> None:
    assert await names_for(door, user) == ["default"]
    assert await mutate(door, admin, MODIFY, name="default", input={"is_public": False}) == DONE
    assert await names_for(door, user) == []
    assert "default" in await names_for(door, admin)


async def test_a_node_is_closed_and_moved(door: Door, admin: Principal, begin: Begin) -> None:
    await add_node(begin)
    async with begin() as tx:
        (name,) = (await tx.scalars(select(nodes.c.name))).all()
    await mutate(door, admin, CREATE, name="large", input=GIVEN)
    assert await mutate(door, admin, CHANGE_NODE, id=name, input={"schedulable": False}) == DONE
    assert await mutate(door, admin, CHANGE_NODE, id=name, input={"scaling_group": "large"}) == DONE
    assert await mutate(door, admin, CHANGE_NODE, id=name, input={"scaling_group": "nowhere"}) == {
        "ok": False,
        "msg": "there is no scaling group nowhere",
    }
    query = "query($id: String!) { agent(agent_id: $id) { schedulable scaling_group } }"
    read = (await door.data(admin, query, id=name))["agent"]
    assert read == {"schedulable": False, "scaling_group": "large"}
    assert await mutate(door, admin, CHANGE_NODE, id="n0", input={}) == {"ok": False, "msg": "there is no agent n0"}
    assert await mutate(door, admin, DELETE, name="large") == {
        "ok": False,
        "msg": "nodes or sessions, ended ones too, belong to the scaling group large; deactivate it instead",
    }


async def test_nobody_but_a_superadmin_writes(
    door: Door, user: Principal, domain_admin: Principal, begin: Begin
) -> None:
    async with begin() as tx:
        before = (await tx.execute(select(scaling_groups_of_domains))).all()
    for caller in (user, domain_admin):
        for document, field, given in (
            (CREATE, "create_scaling_group", {"name": "mine", "input": GIVEN}),
            (MODIFY, "modify_scaling_group", {"name": "default", "input": {"is_active": False}}),
            (DELETE, "delete_scaling_group", {"name": "default"}),
            (OPEN, "associate_scaling_group_with_domain", {"domain": "default", "name": "default"}),
            (OPEN_SOME, "associate_scaling_groups_with_domain", {"domain": "default", "names": ["default"]}),
            (CLOSE, "disassociate_scaling_group_with_domain", {"domain": "default", "name": "default"}),
            (CLOSE_SOME, "disassociate_scaling_groups_with_domain", {"domain": "default", "names": ["default"]}),
            (CLOSE_ALL, "disassociate_all_scaling_groups_with_domain", {"domain": "default"}),
            (CHANGE_NODE, "modify_agent", {"id": "n1", "input": {"schedulable": False}}),
        ):
            answer = await mutate(door, caller, document, **given)
            assert not answer["ok"]
            assert answer["msg"] == f"no permission to execute {field}"
    async with begin() as tx:
        assert (await tx.execute(select(scaling_groups_of_domains))).all() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scheduler": "quickest"}, "scheduler: there is no 'quickest'; there are drf, fair-share, fifo, lifo"),
        ({"scheduler": ""}, "scheduler is a word"),
        ({"scheduler_opts": "[]"}, "scheduler_opts is an object in JSON"),
        ({"scheduler_opts": '{"pending_timeout": "soon"}'}, "'soon' is not a duration"),
        ({"scheduler_opts": '{"preemption": {"enabled": true, "order": "x"}}'}, "order: there is no 'x'"),
        ({"scheduler_opts": '{"x": NaN}'}, "numbers that JSON does not know"),
        ({"scheduler_opts": '{"x": "\\u0000"}'}, "without NUL"),
        ({"driver_opts": json.dumps({"x": "y" * 70_000})}, "driver_opts is JSON of at most 65536 characters"),
        ({"driver_opts": json.dumps({"\ud800": 1})}, "driver_opts is JSON of at most"),
        ({"driver_opts": "7"}, "driver_opts is an object in JSON"),
        ({"description": "x" * 1025}, "description is a text of at most 1024 characters"),
        ({"wsproxy_api_token": "secret"}, "wsproxy_api_token: secrets are kept in Vault"),
    ],
)
async def test_values_that_cannot_be_are_refused_and_nothing_is_written(
    door: Door, admin: Principal, wrong: dict[str, Any], message: str
) -> None:
    before = await group(door, admin, "default")
    for document, name, given in ((CREATE, "large", GIVEN | wrong), (MODIFY, "default", wrong)):
        answer = await mutate(door, admin, document, name=name, input=given)
        assert not answer["ok"]
        assert message in answer["msg"]
    assert await group(door, admin, "default") == before
    assert await group(door, admin, "large") is None


async def test_options_must_go_with_the_scheduler_that_is_kept(door: Door, admin: Principal) -> None:
    await mutate(door, admin, CREATE, name="large", input=GIVEN)
    bad = await mutate(door, admin, MODIFY, name="large", input={"scheduler": "quickest"})
    assert "there is no 'quickest'" in bad["msg"]
    kept = await group(door, admin, "large")
    assert kept is not None
    assert (kept["scheduler"], kept["scheduler_opts"]) == ("drf", OPTIONS)


async def test_options_that_were_written_by_other_means_are_named_when_only_the_scheduler_changes(
    door: Door, admin: Principal, begin: Begin
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"allowed_session_types": []}))
    refused = await mutate(door, admin, MODIFY, name="default", input={"scheduler": "drf"})
    assert refused["msg"].startswith("with the scheduler_opts that default has already: allowed_session_types: ")
    changed = await mutate(door, admin, MODIFY, name="default", input={"scheduler": "drf", "scheduler_opts": "{}"})
    assert changed["ok"]


@pytest.mark.parametrize("name", ["", " g", "g\u0007", "x" * 65, "a,b"])
async def test_a_group_needs_a_name(door: Door, admin: Principal, name: str) -> None:
    answer = await mutate(door, admin, CREATE, name=name, input=GIVEN)
    assert "cannot be the name of a scaling group" in answer["msg"]


async def test_what_is_there_already_and_what_is_not(door: Door, admin: Principal) -> None:
    taken = await mutate(door, admin, CREATE, name="default", input=GIVEN)
    assert taken == {"ok": False, "msg": "there is a scaling group default already", "scaling_group": None}
    for document, given in ((MODIFY, {"input": {"is_active": False}}), (DELETE, {})):
        missing = await mutate(door, admin, document, name="nowhere", **given)
        assert missing == {"ok": False, "msg": "there is no scaling group nowhere"}
