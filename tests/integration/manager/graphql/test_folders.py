"""Who is shown which folders, and in which form."""

from tests.integration.manager.graphql.made import Door, add_folder

from caravan_manager.db.engine import Begin
from caravan_manager.people.model import Principal


async def test_a_list_of_folders_has_the_recorded_form(door: Door, user: Principal, begin: Begin) -> None:
    folder = await add_folder(begin, user, "clivf2")
    query = """query($limit:Int!, $offset:Int!, $group_id: UUID, $filter: String, $order: String) {
      vfolder_list(limit:$limit, offset:$offset, group_id:$group_id, filter:$filter, order:$order) {
        items { id host name status created_at creator group permission ownership_type max_size cloneable usage_mode }
        total_count
      } }"""
    variables = {"limit": 20, "offset": 0, "group_id": None, "filter": None, "order": None}
    assert (await door.data(user, query, **variables))["vfolder_list"] == {
        "items": [
            {
                "id": str(folder),
                "host": "local:volume1",
                "name": "clivf2",
                "status": "delete-pending",
                "created_at": "2026-11-21T08:54:21.757513+00:00",
                "creator": user.email,
                "group": None,
                "permission": "rw",
                "ownership_type": "user",
                "max_size": None,
                "cloneable": False,
                "usage_mode": "general",
            }
        ],
        "total_count": 1,
    }


async def test_folders_are_shown_to_their_owner_and_the_superadmin(
    door: Door, admin: Principal, user: Principal, other: Principal, begin: Begin
) -> None:
    await add_folder(begin, user, "mine")
    query = """{
        vfolder_list(limit: 9, offset: 0) { total_count }
        vfolder_own_list(limit: 9, offset: 0) { items { name } }
        vfolder_invited_list(limit: 9, offset: 0) { items { name } }
        vfolder_project_list(limit: 9, offset: 0) { items { name } }
    }"""

    async def seen(caller: Principal) -> tuple[int, int, int, int]:
        data = await door.data(caller, query)
        kinds = ("vfolder_own_list", "vfolder_invited_list", "vfolder_project_list")
        own, invited, project = (len(data[kind]["items"]) for kind in kinds)
        return data["vfolder_list"]["total_count"], own, invited, project

    assert await seen(user) == (1, 1, 0, 0)
    assert await seen(admin) == (1, 0, 0, 0)
    assert await seen(other) == (0, 0, 0, 0)


async def test_folders_of_another_access_key_or_domain_are_refused(
    door: Door, admin: Principal, user: Principal
) -> None:
    for kind in ("vfolder_list", "vfolder_own_list", "vfolder_invited_list", "vfolder_project_list"):
        query = f"query($k: String, $d: String) {{ {kind}(limit: 1, offset: 0, access_key: $k, domain_name: $d)"
        query += " { total_count } }"
        assert "access key" in (await door.error(user, query, k=admin.access_key))["message"]
        assert "domain" in (await door.error(user, query, d="elsewhere"))["message"]
        assert (await door.data(user, query, k=user.access_key, d="default"))[kind] == {"total_count": 0}


async def test_volumes_are_shown_to_the_superadmin_alone(door: Door, admin: Principal, user: Principal) -> None:
    fields = "id backend capabilities usage proxy name"
    query = f"""{{
        storage_volume_list(limit: 9, offset: 0) {{ items {{ {fields} }} total_count }}
        storage_volume(id: "local:volume1") {{ {fields} }}
        unknown: storage_volume(id: "local:volume2") {{ id }}
    }}"""
    data = await door.data(admin, query)
    [volume] = data["storage_volume_list"]["items"]
    assert volume == data["storage_volume"]
    assert (volume["id"], volume["proxy"], volume["name"]) == ("local:volume1", "local", "volume1")
    assert data["unknown"] is None
    refused = await door.ask(user, query)
    assert refused["data"] == {"storage_volume_list": None, "storage_volume": None, "unknown": None}
    assert "errors" in await door.ask(
        admin, 'query { storage_volume_list(limit: 1, offset: 0, filter: "a == 1") { total_count } }'
    )
