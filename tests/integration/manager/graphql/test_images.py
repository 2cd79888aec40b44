"""Which images are shown, and in which form."""

from typing import Any
from uuid import uuid4

from tests.integration.manager.graphql.made import Door, add_node

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    images,
)
from caravan_manager.people.model import Principal


async def test_an_image_has_the_recorded_form(door: Door, admin: Principal, begin: Begin, seed: Any) -> None:
    await add_node(begin)
    query = """{ images { id name base_image_name project namespace humanized_name tag tags{key value} version registry
        architecture is_local digest aliases size_bytes status resource_limits{key min max}
        supported_accelerators installed installed_agents } }"""
    assert (await door.data(admin, query))["images"] == [
        {
            "id": str(seed.image),
            "name": "caravan/python",
            "base_image_name": "python",
            "project": "caravan",
            "namespace": "caravan/python",
            "humanized_name": "caravan/python",
            "tag": "3.11-bookworm",
            "tags": [{"key": "bookworm", "value": ""}],
            "version": "3.11",
            "registry": "local",
            "architecture": "x86_64",
            "is_local": True,
            "digest": "sha256:" + "0" * 64,
            "aliases": [],
            "size_bytes": 1000,
            "status": "ALIVE",
            "resource_limits": [
                {"key": "cpu", "min": "1", "max": None},
                {"key": "mem", "min": "67108864", "max": None},
            ],
            "supported_accelerators": [""],
            "installed": True,
            "installed_agents": ["n1"],
        }
    ]


async def test_the_official_clients_list_of_images_is_answered(door: Door, user: Principal) -> None:
    query = (
        "query($o: Boolean) { images(is_operation: $o) { name registry architecture tag digest size_bytes aliases } }"
    )
    assert [image["name"] for image in (await door.data(user, query, o=False))["images"]] == ["caravan/python"]
    assert await door.data(user, query, o=True) == {"images": []}


async def test_an_image_is_found_by_reference_and_by_id(door: Door, user: Principal, seed: Any) -> None:
    by_reference = "query($r: String) { image(reference: $r) { id } }"
    by_id = "query($i: String) { image(id: $i) { id } }"
    found = {"image": {"id": str(seed.image)}}
    assert await door.data(user, by_reference, r=seed.image_reference) == found
    assert await door.data(user, by_id, i=str(seed.image)) == found


async def test_an_unknown_image_is_an_error(door: Door, user: Principal) -> None:
    assert (await door.error(user, '{ image(reference: "nope:1") { id } }'))["message"].startswith("No such ")
    assert "not a UUID" in (await door.error(user, '{ image(id: "nope") { id } }'))["message"]
    assert "id or by its reference" in (await door.error(user, "{ image { id } }"))["message"]


async def test_images_are_chosen_by_kind_and_status(door: Door, user: Principal, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(
            images.insert().values(
                id=uuid4(),
                registry="local",
                name="caravan/old",
                tag="1",
                architecture="x86_64",
                digest="",
                status="DELETED",
            )
        )
    query = "query($s: [ImageStatus], $l: [String]) { images(filter_by_statuses: $s, load_filters: $l) { name } }"
    assert await door.data(user, query, s=["DELETED"]) == {"images": [{"name": "caravan/old"}]}
    assert await door.data(user, query, l=["general"]) == {"images": [{"name": "caravan/python"}]}
    assert await door.data(user, query, l=["customized"]) == {"images": []}
    assert "no such filter" in (await door.error(user, query, l=["shiny"]))["message"]


async def test_which_nodes_hold_an_image_is_for_administrators(door: Door, user: Principal) -> None:
    answer = await door.ask(user, "{ images { name installed_agents } }")
    assert answer["data"] == {"images": [{"name": "caravan/python", "installed_agents": None}]}
    assert answer["errors"][0]["message"].startswith("Forbidden operation.")
