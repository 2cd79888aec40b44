"""Policies of keypairs: who may write them, what may be written, and that it holds."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.integration.manager.graphql.made import DONE, Door, mutate

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log
from caravan_manager.people.model import Principal

FIELDS = """name default_for_unspecified total_resource_slots max_session_lifetime max_concurrent_sessions
    max_concurrent_sftp_sessions max_containers_per_session idle_timeout allowed_vfolder_hosts
    max_pending_session_count max_pending_session_resource_slots"""
CREATE = f"""mutation($name: String!, $input: CreateKeyPairResourcePolicyInput!) {{
    create_keypair_resource_policy(name: $name, props: $input) {{ ok msg resource_policy {{ {FIELDS} }} }} }}"""
MODIFY = """mutation($name: String!, $input: ModifyKeyPairResourcePolicyInput!) {
    modify_keypair_resource_policy(name: $name, props: $input) { ok msg } }"""
DELETE = "mutation($name: String!) { delete_keypair_resource_policy(name: $name) { ok msg } }"
READ = f"query($name: String) {{ keypair_resource_policy(name: $name) {{ {FIELDS} }} }}"
GIVEN: dict[str, Any] = {
    "default_for_unspecified": "UNLIMITED",
    "total_resource_slots": '{"cpu": "4", "mem": "2g", "cuda.shares": null, "cuda.shares@NVIDIA A100": 2}',
    "max_session_lifetime": 0,
    "max_concurrent_sessions": 5,
    "max_concurrent_sftp_sessions": 2,
    "max_containers_per_session": 4,
    "idle_timeout": 1800,
    "allowed_vfolder_hosts": '{"local:volume1": ["create-vfolder", "invite-others"]}',
    "max_pending_session_count": None,
    "max_pending_session_resource_slots": None,
}


async def policy(door: Door, admin: Principal, name: str) -> dict[str, Any]:
    """Return a policy, its JSON read."""
    found = (await door.data(admin, READ, name=name))["keypair_resource_policy"]
    return {field: json.loads(v) if isinstance(v, str) and v[:1] in "{[" else v for field, v in found.items()}


async def test_a_superadmin_makes_changes_and_deletes_a_policy(door: Door, admin: Principal, begin: Begin) -> None:
    made = await mutate(door, admin, CREATE, name="p1", input=GIVEN)
    assert (made["ok"], made["msg"], made["resource_policy"]["name"]) == (True, "success", "p1")
    kept = await policy(door, admin, "p1")
    assert kept["total_resource_slots"] == {"cpu": "4", "mem": "2147483648", "cuda.shares@NVIDIA A100": "2"}
    assert kept["allowed_vfolder_hosts"] == {"local:volume1": ["create-vfolder", "invite-others"]}

    change = {"max_containers_per_session": 16, "max_pending_session_count": 3, "idle_timeout": None}
    assert await mutate(door, admin, MODIFY, name="p1", input=change) == DONE
    kept |= {"max_containers_per_session": 16, "max_pending_session_count": 3}
    assert await policy(door, admin, "p1") == kept, "null leaves what must have a value as it is"
    lifted = {"max_pending_session_count": None, "total_resource_slots": "{}"}
    assert await mutate(door, admin, MODIFY, name="p1", input=lifted) == DONE
    assert await policy(door, admin, "p1") == kept | {"max_pending_session_count": None, "total_resource_slots": {}}
    assert await mutate(door, admin, MODIFY, name="p1", input={}) == DONE

    assert await mutate(door, admin, DELETE, name="p1") == DONE
    assert (await door.data(admin, READ, name="p1"))["keypair_resource_policy"] is None
    async with begin() as tx:
        lines = (await tx.execute(select(audit_log.c.action, audit_log.c.target).order_by(audit_log.c.id))).all()
    actions = ["create", "change", "change", "change", "delete"]
    assert [tuple(line) for line in lines] == [(f"keypair-policy.{action}", "p1") for action in actions]


async def test_nobody_but_a_superadmin_writes_policies(
    door: Door, admin: Principal, user: Principal, domain_admin: Principal
) -> None:
    before = await policy(door, admin, "default")
    for caller in (user, domain_admin):
        for document, name, given in (
            (CREATE, "create", {"input": GIVEN}),
            (MODIFY, "modify", {"input": {"max_containers_per_session": 9}}),
            (DELETE, "delete", {}),
        ):
            answer = await mutate(door, caller, document, name="default", **given)
            assert not answer["ok"]
            assert answer["msg"] == f"no permission to execute {name}_keypair_resource_policy"
    assert await policy(door, admin, "default") == before


async def test_what_contradicts_what_there_is_is_refused(door: Door, admin: Principal) -> None:
    taken = await mutate(door, admin, CREATE, name="default", input=GIVEN)
    assert taken == {
        "ok": False,
        "msg": "there is a keypair resource policy default already",
        "resource_policy": None,
    }
    used = await mutate(door, admin, DELETE, name="default")
    assert used == {"ok": False, "msg": "keypairs have the resource policy default; give them another one first"}
    for document, given in ((MODIFY, {"input": {"idle_timeout": 1}}), (DELETE, {})):
        missing = await mutate(door, admin, document, name="nowhere", **given)
        assert missing == {"ok": False, "msg": "there is no keypair resource policy nowhere"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"default_for_unspecified": "SOME"}, "default_for_unspecified is LIMITED or UNLIMITED"),
        ({"total_resource_slots": "[]"}, "total_resource_slots is an object in JSON"),
        ({"total_resource_slots": '{"cpu": "x"}'}, "not an amount of cpu"),
        ({"total_resource_slots": '{"cpu": "-1"}'}, "not a possible amount of cpu"),
        ({"total_resource_slots": '{"Bad Slot": "1"}'}, "not a name of a resource slot"),
        ({"total_resource_slots": '{"cuda.shares@": "1"}'}, "names no model"),
        ({"max_concurrent_sessions": -1}, "max_concurrent_sessions is a number from 0"),
        ({"max_containers_per_session": 0}, "max_containers_per_session is a number from 1"),
        ({"idle_timeout": -1}, "idle_timeout is a number from 0"),
        ({"max_pending_session_count": -1}, "max_pending_session_count is a number from 0"),
        ({"max_pending_session_resource_slots": '{"cuda.shares@A100": "1"}'}, "knows no models"),
        ({"allowed_vfolder_hosts": '{"local:volume1": ["fly"]}'}, "the rights on local:volume1 are a list of"),
        ({"allowed_vfolder_hosts": '{"local:volume1": "create-vfolder"}'}, "the rights on local:volume1 are a list"),
    ],
)
async def test_values_that_cannot_be_are_refused_and_nothing_is_written(
    door: Door, admin: Principal, wrong: dict[str, Any], message: str
) -> None:
    before = await policy(door, admin, "default")
    for document, name, given in ((CREATE, "p1", GIVEN | wrong), (MODIFY, "default", wrong)):
        answer = await mutate(door, admin, document, name=name, input=given)
        assert not answer["ok"]
        assert message in answer["msg"]
    assert await policy(door, admin, "default") == before
    assert (await door.data(admin, READ, name="p1"))["keypair_resource_policy"] is None


@pytest.mark.parametrize("name", ["", " p1", "p\u0007", "x" * 257])
async def test_a_policy_needs_a_name(door: Door, admin: Principal, name: str) -> None:
    answer = await mutate(door, admin, CREATE, name=name, input=GIVEN)
    assert "cannot be the name of a policy" in answer["msg"]
