"""How the clients write the folders of a new session, and what is made of it."""

import pytest

from caravan_manager.api.rest.sessions import CreateSession, _mounts
from caravan_manager.vfolders.model import MountRequest

ID = "c0ffee00000040008000000000000001"


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"mounts": ["data"]}, MountRequest("data")),
        ({"mounts": ["data/part"], "mount_map": {"data/part": "/data"}}, MountRequest("data", "part", "/data")),
        ({"mounts": ["data"], "mountMap": {"data": "sets"}}, MountRequest("data", target="sets")),
        (
            {"mounts": ["data"], "mountOptions": {"data": {"type": "bind", "perm": "ro", "subpath": "a/b"}}},
            MountRequest("data", "a/b", permission="ro"),
        ),
        (
            {"mount_ids": [ID], "mount_id_map": {ID: "/data"}, "mount_options": {ID: {"permission": "ro"}}},
            MountRequest(ID, target="/data", permission="ro"),
        ),
        ({"mounts": None, "mount_ids": [ID], "mount_map": None, "mount_id_map": None}, MountRequest(ID)),
    ],
)
def test_a_folder_is_asked_for_in_the_spelling_of_any_client(config: dict[str, object], wanted: MountRequest) -> None:
    body = CreateSession.model_validate({"name": "desk", "image": "x", "config": config})
    assert _mounts(body.config) == (wanted,)
