"""Who is shown which users, projects and domains."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from tests.integration.manager.graphql.made import Door

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    projects,
)
from caravan_manager.people.model import Principal


async def test_users_look_at_themselves(door: Door, user: Principal) -> None:
    query = "{ user { uuid username email role is_active status domain_name groups { name } need_password_change } }"
    assert (await door.data(user, query))["user"] == {
        "uuid": str(user.user_id),
        "username": "user",
        "email": user.email,
        "role": "user",
        "is_active": True,
        "status": "active",
        "domain_name": "default",
        "groups": [{"name": "default"}],
        "need_password_change": False,
    }


async def test_a_user_is_found_by_id(door: Door, admin: Principal, user: Principal) -> None:
    query = "query($id: ID) { user_from_uuid(user_id: $id) { email } }"
    assert await door.data(admin, query, id=str(user.user_id)) == {"user_from_uuid": {"email": user.email}}


async def test_a_user_cannot_look_at_another(door: Door, admin: Principal, user: Principal) -> None:
    error = await door.error(user, "query($e: String) { user(email: $e) { uuid } }", e=admin.email)
    assert error["message"] == "No such user."


async def test_only_administrators_list_users(door: Door, admin: Principal, user: Principal) -> None:
    query = "{ user_list(limit: 10, offset: 0) { items { email } total_count } users { email } }"
    assert (await door.data(admin, query))["user_list"]["total_count"] == 2
    answer = await door.ask(user, query)
    assert answer["data"] == {"user_list": None, "users": None}
    assert len(answer["errors"]) == 2


async def test_users_are_chosen_by_status_and_project(
    door: Door, admin: Principal, user: Principal, other: Principal, seed: Any
) -> None:
    query = "query($g: UUID, $s: String, $a: Boolean) { users(group_id: $g, status: $s, is_active: $a) { email } }"
    members = await door.data(admin, query, g=str(seed.project))
    assert {found["email"] for found in members["users"]} == {admin.email, user.email}
    assert await door.data(admin, query, s="inactive,deleted") == {"users": []}
    assert await door.data(admin, query, a=False) == {"users": []}
    assert len((await door.data(admin, query, a=True))["users"]) == 3
    assert other


async def test_projects_are_listed_to_their_members_only(
    door: Door, admin: Principal, user: Principal, other: Principal, seed: Any
) -> None:
    query = """query($id: UUID!) {
        groups { name type total_resource_slots scaling_groups }
        groups_by_name(name: "default") { id }
        group(id: $id) { name }
    }"""
    shown = {
        "groups": [{"name": "default", "type": "GENERAL", "total_resource_slots": "{}", "scaling_groups": []}],
        "groups_by_name": [{"id": str(seed.project)}],
        "group": {"name": "default"},
    }
    assert await door.data(admin, query, id=str(seed.project)) == shown
    assert await door.data(user, query, id=str(seed.project)) == shown
    assert await door.data(other, query, id=str(seed.project)) == {"groups": [], "groups_by_name": [], "group": None}


async def test_projects_of_other_kinds_are_listed_when_they_are_asked_for(
    door: Door, admin: Principal, begin: Begin
) -> None:
    async with begin() as tx:
        await tx.execute(
            projects.insert().values(
                id=uuid4(), name="models", domain_name="default", type="MODEL_STORE", resource_policy="default"
            )
        )
    query = "query($t: [String!]) { groups(type: $t) { name } }"
    assert await door.data(admin, query) == {"groups": [{"name": "default"}]}
    assert await door.data(admin, query, t=["MODEL_STORE"]) == {"groups": [{"name": "models"}]}


async def test_a_domain_is_shown_to_its_people(door: Door, admin: Principal, domain_admin: Principal) -> None:
    query = '{ domain(name: "default") { name scaling_groups allowed_vfolder_hosts created_at } domains { name } }'
    data = await door.data(admin, query)
    assert data["domain"]["scaling_groups"] == ["default"]
    assert data["domain"]["allowed_vfolder_hosts"].startswith('{"local:volume1": ["create-vfolder", ')
    assert datetime.fromisoformat(data["domain"]["created_at"]).tzinfo is not None
    assert {found["name"] for found in data["domains"]} == {"default", "elsewhere"}
    assert await door.data(domain_admin, query) == {"domain": None, "domains": [{"name": "elsewhere"}]}
