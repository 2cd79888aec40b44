"""Who is shown which keypairs, and when their secrets are revealed; what bounds every list."""

from itertools import product

from tests.integration.manager.graphql.made import Door, add_person

from caravan_manager.db.engine import Begin
from caravan_manager.people.model import Principal, UserRole


async def test_a_user_sees_own_keypair_with_its_secret(door: Door, user: Principal) -> None:
    data = await door.data(user, "{ keypair { user_id access_key secret_key is_active is_admin concurrency_used } }")
    assert data["keypair"]["access_key"] == user.access_key
    assert data["keypair"]["user_id"] == user.email
    assert data["keypair"]["secret_key"].startswith("opened ")
    assert data["keypair"]["concurrency_used"] == 0


async def test_a_user_cannot_see_another_keypair(door: Door, admin: Principal, user: Principal) -> None:
    query = "query($k: String) { keypair(access_key: $k) { secret_key } }"
    answer = await door.ask(user, query, k=admin.access_key)
    assert answer["data"] == {"keypair": None}
    assert answer["errors"][0]["message"].startswith("Forbidden operation. (")
    assert answer["errors"][0]["path"] == ["keypair"]
    assert answer["errors"][0]["extensions"]["code"] == "api_access_forbidden"


async def test_a_superadmin_sees_any_keypair(door: Door, admin: Principal, user: Principal) -> None:
    query = "query($k: String) { keypair(access_key: $k) { id user full_name projects user_info { full_name } } }"
    assert (await door.data(admin, query, k=user.access_key))["keypair"] == {
        "id": user.access_key,
        "user": str(user.user_id),
        "full_name": "User",
        "projects": ["default"],
        "user_info": {"full_name": "User"},
    }


async def test_an_unknown_keypair_is_null(door: Door, admin: Principal) -> None:
    assert await door.data(admin, '{ keypair(access_key: "AKIANOBODY") { id } }') == {"keypair": None}


async def test_an_administrator_of_a_domain_sees_keypairs_there_but_no_secret_of_others(
    door: Door, begin: Begin, domain_admin: Principal, user: Principal
) -> None:
    member = await add_person(begin, user, "member", UserRole.USER, "AKIATESTMEMBERAAAAAA", "elsewhere")
    data = await door.data(domain_admin, "{ keypairs { access_key secret_key } }")
    assert {found["access_key"]: found["secret_key"] for found in data["keypairs"]} == {
        domain_admin.access_key: "opened sealed-boss",
        member.access_key: None,
    }


async def test_a_superadmin_sees_every_secret(door: Door, admin: Principal, user: Principal) -> None:
    query = "query($k: String) { keypair(access_key: $k) { secret_key } }"
    assert (await door.data(admin, query, k=user.access_key))["keypair"]["secret_key"].startswith("opened ")


async def test_secrets_are_not_revealed_unless_they_are_asked_for(door: Door, admin: Principal) -> None:
    await door.data(admin, "{ keypairs { access_key is_active } }")
    assert door.cipher.calls == 0


async def test_a_vault_that_is_down_costs_only_the_secret(door: Door, user: Principal) -> None:
    door.cipher.is_down = True
    answer = await door.ask(user, "{ keypair { access_key secret_key } }")
    assert answer["data"] == {"keypair": {"access_key": user.access_key, "secret_key": None}}
    assert "Vault does not answer" in answer["errors"][0]["message"]


async def test_a_list_shows_each_caller_what_is_theirs(
    door: Door, admin: Principal, user: Principal, other: Principal, domain_admin: Principal
) -> None:
    query = "{ keypair_list(limit: 10, offset: 0) { items { access_key } total_count } }"
    seen = {
        caller.access_key: {item["access_key"] for item in (await door.data(caller, query))["keypair_list"]["items"]}
        for caller in (admin, user, domain_admin)
    }
    assert seen == {
        admin.access_key: {person.access_key for person in (admin, user, other, domain_admin)},
        user.access_key: {user.access_key},
        domain_admin.access_key: {domain_admin.access_key},
    }


async def test_asking_for_somebody_elses_keypairs_answers_ones_own(
    door: Door, admin: Principal, user: Principal
) -> None:
    data = await door.data(user, "query($e: String) { keypairs(email: $e) { access_key } }", e=admin.email)
    assert data == {"keypairs": [{"access_key": user.access_key}]}


async def test_a_list_beside_a_forbidden_one_is_still_answered(door: Door, user: Principal) -> None:
    query = (
        "{ keypair_list(limit:10,offset:0){ items{ access_key user_id } total_count }"
        " agent_list(limit:1,offset:0){ total_count } }"
    )
    answer = await door.ask(user, query)
    assert answer["data"] == {
        "keypair_list": {"items": [{"access_key": user.access_key, "user_id": user.email}], "total_count": 1},
        "agent_list": None,
    }
    [error] = answer["errors"]
    assert error["message"].startswith("Forbidden operation. (")
    assert error["path"] == ["agent_list"]


async def test_a_page_has_bounds(door: Door, admin: Principal) -> None:
    lists = ("keypair_list", "user_list", "compute_session_list", "vfolder_list", "agent_list")
    wrong = ("limit: 101, offset: 0", "limit: -1, offset: 0", "limit: 1, offset: -1")
    for root, arguments in product(lists, wrong):
        error = await door.error(admin, f"{{ {root}({arguments}) {{ total_count }} }}")
        assert error["message"].startswith("Missing or invalid API parameters. ("), root
