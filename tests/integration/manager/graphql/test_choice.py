"""Lists are filtered and ordered as the caller asks, by the fields that a list names and among what the caller sees."""

from typing import Any

import pytest
from tests.integration.manager.graphql.made import Door, add_folder, add_node, add_sessions, running

from caravan_manager.db.engine import Begin
from caravan_manager.nodes.repository import FIELDS as NODE_FIELDS
from caravan_manager.people.model import Principal
from caravan_manager.people.repository import KEYPAIR_FIELDS, USER_FIELDS
from caravan_manager.sessions.repository import FIELDS as SESSION_FIELDS
from caravan_manager.vfolders.repository import FIELDS as FOLDER_FIELDS

LISTS = {
    "agent_list": ("id", NODE_FIELDS),
    "keypair_list": ("access_key", KEYPAIR_FIELDS),
    "user_list": ("email", USER_FIELDS),
    "compute_session_list": ("name", SESSION_FIELDS),
    "vfolder_list": ("name", FOLDER_FIELDS),
}
QUERY = """query($f: String, $o: String) {{
    {}(limit: 20, offset: 0, filter: $f, order: $o) {{ items {{ {} }} total_count }}
}}"""


async def _names(door: Door, caller: Principal, root: str, filter_: str = "", order: str = "") -> list[str]:
    """Return the listed names; the list's count must be theirs."""
    column = LISTS[root][0]
    listed = (await door.data(caller, QUERY.format(root, column), f=filter_, o=order))[root]
    assert listed["total_count"] == len(listed["items"])
    return [item[column] for item in listed["items"]]


@pytest.fixture
async def sessions(admin: Principal, user: Principal, begin: Begin, seed: Any) -> None:
    """Three sessions of the user, oldest first, and one of the administrator."""
    mine = [running(user, seed.project, name, minute) for minute, name in enumerate(("train-1", "train-2", "x%y"))]
    await add_sessions(begin, *mine, running(admin, seed.project, "admins", 9))


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ('name == "train-1"', {"train-1"}),
        ('name != "train-1"', {"train-2", "x%y"}),
        ('name like "train%"', {"train-1", "train-2"}),
        ('name ilike "TRAIN-_"', {"train-1", "train-2"}),
        ('name contains "%"', {"x%y"}),
        ('name in ["x%y", "train-2", "no"]', {"x%y", "train-2"}),
        ("name in []", set()),
        ('name == "x%y" | name == "train-1"', {"x%y", "train-1"}),
        ('!(name contains "train")', {"x%y"}),
        ('status == "running" & type == "INTERACTIVE"', {"train-1", "train-2", "x%y"}),
        ('status != "RUNNING"', set()),
        ("priority >= 10 & priority < 10.5 & priority < 999999999999", {"train-1", "train-2", "x%y"}),
        ("terminated_at is null", {"train-1", "train-2", "x%y"}),
        ("terminated_at isnot null", set()),
        ('created_at > "2000-01-01"', {"train-1", "train-2", "x%y"}),
        ('group_name == "default" & user_email contains "@"', {"train-1", "train-2", "x%y"}),
        ('agent_ids == "n1"', {"train-1", "train-2", "x%y"}),
        ('agent_ids ilike "z%"', set()),
        ('name == "admins"', set()),
        ('access_key == "\' or 1=1 --"', set()),
    ],
)
async def test_sessions_are_filtered(
    door: Door, user: Principal, sessions: None, filter_: str, found: set[str]
) -> None:
    assert set(await _names(door, user, "compute_session_list", filter_)) == found


@pytest.mark.parametrize(
    ("order", "first"), [("", "x%y"), ("name", "train-1"), ("-name", "x%y"), ("priority,+created_at", "train-1")]
)
async def test_sessions_are_ordered(door: Door, user: Principal, sessions: None, order: str, first: str) -> None:
    assert (await _names(door, user, "compute_session_list", order=order))[0] == first


async def test_each_list_knows_its_fields(door: Door, admin: Principal, begin: Begin, sessions: None) -> None:
    await add_folder(begin, admin, "data")
    await add_node(begin)
    for root, (_, fields) in LISTS.items():
        whole = await _names(door, admin, root)
        assert whole, root
        for name, field in fields.items():
            found = await _names(door, admin, root, f"{name} is null | {name} isnot null")
            assert set(found) <= set(whole), (root, name)
            assert found or field.among, (root, name)
            if field.among is None:
                assert sorted(await _names(door, admin, root, order=f"-{name}")) == sorted(whole), (root, name)


@pytest.mark.parametrize(
    ("filter_", "order", "said"),
    [
        ("secret == 1", "", "no field secret"),
        ("", "password_hash", "no field password_hash"),
        ("name", "", "cannot be read"),
        ("", "name desc", "cannot be read"),
        ('status == "NO_SUCH"', "", "no value of status"),
        ("name == 1", "", "no value of name"),
        ('priority > "high"', "", "no value of priority"),
        ('created_at > "yesterday"', "", "no value of created_at"),
        ('id == "no-uuid"', "", "no value of id"),
        ("name < null", "", "null, true and false have no order"),
        ("priority like 1", "", "takes text"),
        ('name like "a\\\\"', "", "backslash"),
        ("", "agent_ids", "several values"),
    ],
)
async def test_what_a_list_cannot_be_chosen_by_is_said(
    door: Door, user: Principal, filter_: str, order: str, said: str
) -> None:
    error = await door.error(user, QUERY.format("compute_session_list", "name"), f=filter_, o=order)
    assert said in error["message"]
