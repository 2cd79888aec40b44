"""A list costs as many queries as one row."""

from typing import Any

from tests.integration.manager.graphql.made import Door, add_folder, add_node, add_person, add_sessions, running

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    project_members,
)
from caravan_manager.people.model import Principal, UserRole


async def count_of(statements: list[str], door: Door, caller: Principal, query: str, **variables: object) -> int:
    statements.clear()
    await door.data(caller, query, **variables)
    return len(statements)


async def test_a_list_of_sessions_costs_as_many_queries_as_one_session(
    door: Door, user: Principal, begin: Begin, seed: Any, statements: list[str]
) -> None:
    await add_sessions(begin, *(running(user, seed.project, f"sess{n:02}", n) for n in range(20)))
    query = """query($n: Int!) { compute_session_list(limit: $n, offset: 0) { items {
        name user_email full_name group_name agents occupied_slots containers { id image_object { name } }
    } total_count } }"""
    one = await count_of(statements, door, user, query, n=1)
    assert await count_of(statements, door, user, query, n=20) == one
    assert one <= 4


async def test_a_list_of_keypairs_costs_as_many_queries_as_one_keypair(
    door: Door, admin: Principal, begin: Begin, seed: Any, statements: list[str]
) -> None:
    for number in range(10):
        person = await add_person(begin, seed.user, f"p{number}", UserRole.USER, f"AKIATEST{number}", "default")
        async with begin() as tx:
            await tx.execute(project_members.insert().values(project_id=seed.project, user_id=person.user_id))
    query = """query($n: Int!) { keypair_list(limit: $n, offset: 0) { items {
        access_key secret_key projects user_info { full_name } } total_count } }"""
    one = await count_of(statements, door, admin, query, n=1)
    assert await count_of(statements, door, admin, query, n=12) == one
    assert one <= 3
    assert door.cipher.calls == 2


async def test_a_list_of_users_costs_as_many_queries_as_one_user(
    door: Door, admin: Principal, begin: Begin, seed: Any, statements: list[str]
) -> None:
    for number in range(10):
        await add_person(begin, seed.user, f"p{number}", UserRole.USER, f"AKIATEST{number}", "default")
    query = "query($n: Int!) { user_list(limit: $n, offset: 0) { items { email groups { id name } } total_count } }"
    one = await count_of(statements, door, admin, query, n=1)
    assert await count_of(statements, door, admin, query, n=12) == one
    assert one <= 3


async def test_a_list_of_folders_costs_two_queries(
    door: Door, user: Principal, begin: Begin, statements: list[str]
) -> None:
    for number in range(10):
        await add_folder(begin, user, f"folder{number}")
    query = "{ vfolder_list(limit: 20, offset: 0) { items { id user_email group_name } total_count } }"
    assert await count_of(statements, door, user, query) <= 2


async def test_a_list_of_images_and_scaling_groups_loads_the_nodes_once(
    door: Door, admin: Principal, begin: Begin, statements: list[str]
) -> None:
    await add_node(begin)
    query = "{ images { installed installed_agents } }"
    assert await count_of(statements, door, admin, query) <= 3
    query = "{ scaling_groups { agent_count_by_status agent_total_resource_slots_by_status } }"
    assert await count_of(statements, door, admin, query) <= 3
