"""REST doors of folders, resources and status on a real PostgreSQL: shapes as recorded from Backend.AI 25.5.2."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_agent_watcher import heartbeat

from caravan_common.http import Handler, problems
from caravan_common.wire.devices import Device
from caravan_manager.api.auth import is_anonymous
from caravan_manager.api.context import NODES, PEOPLE, PRINCIPAL, SESSIONS, VFOLDERS
from caravan_manager.api.rest import folders, information, resources
from caravan_manager.api.rest.information import IDENTITY, ManagerIdentity
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import nodes, project_members, projects
from caravan_manager.nodes import repository
from caravan_manager.nodes.model import Guest, GuestKind
from caravan_manager.nodes.repository import change_scaling_group, open_to, record_heartbeat
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.people.service import PeopleService
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

CREATED = {
    *("id", "name", "quota_scope_id", "host", "usage_mode", "permission", "max_size", "creator", "ownership_type"),
    *("user", "group", "cloneable", "status"),
}
LISTED = {
    *("name", "id", "quota_scope_id", "host", "status", "usage_mode", "created_at", "is_owner", "permission", "user"),
    *("group", "creator", "user_email", "group_name", "ownership_type", "type", "cloneable", "max_files", "max_size"),
    "cur_size",
}
DESCRIBED = {
    *("name", "id", "host", "quota_scope_id", "status", "numFiles", "num_files", "used_bytes", "created", "created_at"),
    *(
        "last_used",
        "user",
        "group",
        "type",
        "is_owner",
        "permission",
        "usage_mode",
        "cloneable",
        "max_size",
        "cur_size",
    ),
}
DATA = {
    "name": "data",
    "host": "local:volume1",
    "unmanaged_path": None,
    "group": None,
    "usage_mode": "general",
    "permission": "rw",
    "cloneable": False,
}


class CountedSessions:
    """Stands for the service of sessions, of which the status door asks one number."""

    async def count_active(self) -> int:
        return 2


@dataclass(frozen=True, slots=True)
class Door:
    """Calls the doors as the user, or as somebody else."""

    client: TestClient[web.Request, web.Application]

    async def ask(
        self, method: str, path: str, body: object = None, *, caller: str | None = "user", raw: bytes | None = None
    ) -> tuple[int, Any]:
        """Return the status and the JSON of the answer, or None when it is empty."""
        data = raw if raw is not None else orjson.dumps(body) if body is not None else None
        headers = {"X-Test-Caller": caller} if caller else {}
        async with self.client.request(method, path, data=data, headers=headers) as answer:
            content = await answer.read()
            return answer.status, orjson.loads(content) if content else None

    async def create(self, name: str = "data", **changes: object) -> dict[str, Any]:
        status, made = await self.ask("POST", "/folders", DATA | {"name": name} | changes)
        assert status == 201
        return cast(dict[str, Any], made)


@pytest.fixture
async def door(begin: Begin, seed: Seed, vfolders: VFoldersService) -> AsyncGenerator[Door, None]:
    callers: dict[str, Principal] = {"user": seed.user, "admin": seed.admin}

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_anonymous(request):
            request[PRINCIPAL] = callers[request.headers["X-Test-Caller"]]
        return await handler(request)

    app = web.Application(middlewares=[problems, identify])
    app[VFOLDERS] = vfolders
    app[NODES] = NodesService(begin)
    app[PEOPLE] = PeopleService(begin, cast(SecretKeys, None))
    app[SESSIONS] = cast(SessionsService, CountedSessions())
    app[IDENTITY] = ManagerIdentity(id="i-one", address="127.0.0.1:8091", version="25.5.2")
    for module in (folders, information, resources):
        app.add_routes(module.routes)
    async with TestClient(TestServer(app)) as client:
        yield Door(client)


async def test_a_folder_is_created_as_the_client_does(door: Door, user: Principal) -> None:
    made = await door.create()
    assert set(made) == CREATED
    assert made["quota_scope_id"] == f"user:{user.user_id}"
    assert (made["max_size"], made["user"], made["group"]) == (0, str(user.user_id), None)
    assert (made["creator"], made["ownership_type"], made["status"]) == (user.email, "user", "ready")
    assert len(made["id"]) == 32


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": None},
        {"name": ".ssh"},
        {"name": "a/b"},
        {"name": "data", "host": "volume1"},
        {"name": "data", "host": "local:volume9"},
        {"name": "data", "permission": "rwx"},
        {"name": "data", "usage_mode": "secret"},
        {"name": "data", "unmanaged_path": "/etc"},
    ],
)
async def test_bad_parameters_are_refused(door: Door, body: object) -> None:
    status, problem = await door.ask("POST", "/folders", body)
    assert status == 400
    assert problem["type"] == "https://api.backend.ai/probs/invalid-api-params"
    assert problem["title"] == "Missing or invalid API parameters."


async def test_a_malformed_body_is_refused(door: Door) -> None:
    status, problem = await door.ask("POST", "/folders", raw=b"{not json")
    assert (status, problem["msg"]) == (400, "Malformed body")


async def test_a_name_that_is_taken_is_refused(door: Door) -> None:
    await door.create()
    status, problem = await door.ask("POST", "/folders", DATA)
    assert (status, problem["type"]) == (400, "https://api.backend.ai/probs/vfolder-already-exists")


async def test_a_users_folder_for_a_project_is_forbidden(door: Door) -> None:
    status, problem = await door.ask("POST", "/folders", DATA | {"group": "default"})
    assert (status, problem["type"]) == (403, "https://api.backend.ai/probs/generic-forbidden")


async def test_folders_are_listed(door: Door, seed: Seed, user: Principal) -> None:
    made = await door.create()
    await door.ask("POST", "/folders", DATA | {"name": "shared", "group": str(seed.project)}, caller="admin")
    status, listed = await door.ask("GET", "/folders")
    assert status == 200
    assert [(folder["name"], folder["is_owner"], folder["group_name"]) for folder in listed] == [
        ("shared", False, "default"),
        ("data", True, None),
    ]
    assert all(set(folder) == LISTED for folder in listed)
    assert (listed[1]["id"], listed[1]["user_email"], listed[1]["type"]) == (made["id"], user.email, "user")
    assert (listed[0]["type"], listed[0]["user"], listed[0]["group"]) == ("group", None, str(seed.project))


async def test_folders_are_listed_by_project(door: Door, seed: Seed) -> None:
    await door.create()
    for group in (seed.project, seed.project.hex, "default"):
        status, listed = await door.ask("GET", f"/folders?group_id={group}")
        assert (status, [folder["name"] for folder in listed]) == (200, ["data"])
    assert (await door.ask("GET", f"/folders?group_id={uuid4()}"))[0] == 404


async def test_only_superadmins_list_everybodys_folders(door: Door) -> None:
    await door.create()
    assert (await door.ask("GET", "/folders?all=true", caller="admin"))[1][0]["name"] == "data"
    await door.ask("POST", "/folders", DATA | {"name": "secret"}, caller="admin")
    names = [folder["name"] for folder in (await door.ask("GET", "/folders?all=true"))[1]]
    assert names == ["data"]


async def test_a_name_is_turned_into_an_id_with_a_body_on_get(door: Door) -> None:
    made = await door.create()
    for spelling in ("name", "vfolder_name", "vfolderName"):
        status, found = await door.ask("GET", "/folders/_/id", {spelling: "data"})
        assert (status, set(found)) == (200, {"id", "name"})
        assert found["id"].replace("-", "") == made["id"]
        assert len(found["id"]) == 36


async def test_an_unknown_name_has_no_id(door: Door) -> None:
    made = await door.create()
    for name in ("nothing", made["id"]):
        assert (await door.ask("GET", "/folders/_/id", {"name": name}))[0] == 404
    assert (await door.ask("GET", "/folders/_/id"))[0] == 400


async def test_a_folder_is_described_by_name_and_both_forms_of_its_id(door: Door) -> None:
    made = await door.create()
    await door.ask("POST", "/folders/data/request-upload", {"path": "a.txt", "size": 3})
    dashed = (await door.ask("GET", "/folders/_/id", {"name": "data"}))[1]["id"]
    for text in ("data", made["id"], dashed):
        status, described = await door.ask("GET", f"/folders/{text}")
        assert (status, set(described)) == (200, DESCRIBED)
        assert (described["numFiles"], described["num_files"], described["used_bytes"]) == (1, 1, 3)
        assert described["max_size"] is None
        assert described["created_at"].endswith("+00:00")
        assert " " in described["created_at"]


async def test_an_unknown_folder_is_not_found(door: Door) -> None:
    status, problem = await door.ask("GET", "/folders/no-such-folder")
    assert status == 404
    assert problem == {
        "type": "https://api.backend.ai/probs/object-not-found",
        "title": "No such virtual folder.",
        "error_code": "vfolder_read_not-found",
        "data": "no-such-folder",
    }


async def test_directories_are_made_and_listed(door: Door) -> None:
    await door.create()
    status, made = await door.ask("POST", "/folders/data/mkdir", {"path": "d1"})
    assert (status, made) == (200, {"results": {"success": [{"msg": None, "item": "d1"}], "failed": []}})
    await door.ask("POST", "/folders/data/request-upload", {"path": "hello.txt", "size": 3})
    status, listed = await door.ask("GET", "/folders/data/files?path=.")
    moment = "2026-01-02T03:04:05+00:00"
    directory = {"name": "d1", "type": "DIRECTORY", "size": 4096, "mode": "755", "created": moment, "modified": moment}
    file = {"name": "hello.txt", "type": "FILE", "size": 3, "mode": "644", "created": moment, "modified": moment}
    assert (status, set(listed), listed["items"]) == (200, {"items", "files"}, [directory, file])
    older = orjson.loads(listed["files"])
    assert [(entry["filename"], entry["mode"]) for entry in older] == [
        ("d1", "drwxr-xr-x"),
        ("hello.txt", "-rw-r--r--"),
    ]
    assert set(older[0]) == {"filename", "size", "mode", "ctime", "atime", "mtime"}


async def test_an_empty_folder_lists_nothing(door: Door) -> None:
    await door.create()
    assert await door.ask("GET", "/folders/data/files?path=.") == (200, {"items": [], "files": "[]"})


async def test_directories_that_exist_are_told_one_by_one(door: Door) -> None:
    await door.create()
    await door.ask("POST", "/folders/data/mkdir", {"path": ["d1"], "parents": False, "exist_ok": False})
    status, made = await door.ask("POST", "/folders/data/mkdir", {"path": ["d1", "d2"]})
    assert (status, [one["item"] for one in made["results"]["failed"]]) == (207, ["d1"])
    assert (await door.ask("POST", "/folders/data/mkdir", {"path": ["d1"]}))[0] == 422
    assert (await door.ask("POST", "/folders/data/mkdir", {"path": "../x"}))[0] == 422
    assert (await door.ask("POST", "/folders/data/mkdir", {"path": ["d1"], "exist_ok": True}))[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("mkdir", {}),
        ("mkdir", {"path": []}),
        ("mkdir", {"path": ["d"] * 51}),
        ("request-upload", {"path": "a"}),
        ("request-upload", {"path": "a", "size": -1}),
        ("request-upload", {"path": "../a", "size": 1}),
        ("request-download", {}),
        ("rename", {}),
        ("rename", {"new_name": "../x"}),
    ],
)
async def test_bad_parameters_of_a_folder_are_refused(door: Door, path: str, body: object) -> None:
    await door.create()
    assert (await door.ask("POST", f"/folders/data/{path}", body))[0] == 400


async def test_transfers_are_asked_for(door: Door) -> None:
    await door.create()
    status, ticket = await door.ask("POST", "/folders/data/request-upload", {"path": "a.txt", "size": 3})
    assert (status, set(ticket)) == (200, {"token", "url"})
    for body in (
        {"path": "a.txt"},
        {"file": "a.txt"},
        {"path": "a.txt", "archive": False},
        {"path": "a.txt", "archive": None},
    ):
        status, ticket = await door.ask("POST", "/folders/data/request-download", body)
        assert (status, set(ticket)) == (200, {"token", "url"})


async def test_a_file_that_is_not_there_is_not_found(door: Door) -> None:
    await door.create()
    assert (await door.ask("POST", "/folders/data/request-download", {"path": "nothing"}))[0] == 404
    assert (await door.ask("GET", "/folders/data/files?path=nowhere"))[0] == 404


async def test_a_folder_is_renamed(door: Door) -> None:
    made = await door.create()
    assert await door.ask("POST", f"/folders/{made['id']}/rename", {"new_name": "other"}) == (201, None)
    assert (await door.ask("GET", "/folders/other"))[0] == 200


async def test_a_folder_goes_through_the_trash(door: Door) -> None:
    made = await door.create()
    assert await door.ask("DELETE", "/folders", {"id": made["id"]}) == (204, None)
    assert (await door.ask("GET", "/folders"))[1][0]["status"] == "delete-pending"
    assert (await door.ask("GET", "/folders/_/id", {"name": "data"}))[0] == 200
    assert await door.ask("POST", "/folders/restore-from-trash-bin", {"id": made["id"]}) == (204, None)
    assert await door.ask("DELETE", "/folders/data") == (204, None)
    assert await door.ask("POST", "/folders/delete-from-trash-bin", {"vfolder_id": made["id"]}) == (204, None)
    assert (await door.ask("GET", "/folders"))[1] == []
    assert await door.ask("POST", "/folders/purge", {"vfolderId": made["id"]}, caller="admin") == (204, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/folders"),
        ("POST", "/folders/delete-from-trash-bin"),
        ("POST", "/folders/restore-from-trash-bin"),
        ("POST", "/folders/purge"),
    ],
)
async def test_the_trash_takes_ids_of_folders_only(door: Door, method: str, path: str) -> None:
    await door.create()
    assert (await door.ask(method, path, {}))[0] == 400
    assert (await door.ask(method, path, {"id": "data"}))[0] == 400
    assert (await door.ask(method, path, {"id": uuid4().hex}, caller="admin"))[0] == 404


async def test_a_live_folder_is_not_deleted_at_once(door: Door) -> None:
    made = await door.create()
    status, problem = await door.ask("POST", "/folders/delete-from-trash-bin", {"id": made["id"]})
    assert (status, problem["type"]) == (400, "https://api.backend.ai/probs/vfolder-filter-status-failed")
    status, problem = await door.ask("POST", "/folders/purge", {"id": made["id"]})
    assert (status, problem["type"]) == (403, "https://api.backend.ai/probs/generic-forbidden")


async def test_hosts_are_listed(door: Door, seed: Seed) -> None:
    volume = {
        "backend": "vfs",
        "capabilities": ["vfolder"],
        "usage": {"percentage": 12.5},
        "sftp_scaling_groups": [],
    }
    expected = {"default": "local:volume1", "allowed": ["local:volume1"], "volume_info": {"local:volume1": volume}}
    assert await door.ask("GET", "/folders/_/hosts") == (200, expected)
    assert await door.ask("GET", f"/folders/_/hosts?group_id={seed.project}") == (200, expected)
    assert (await door.ask("GET", "/folders/_/hosts?group_id=nothing"))[0] == 404


async def test_a_host_names_the_groups_that_take_uploads(door: Door, seed: Seed, begin: Begin) -> None:
    """WebUI sends files with SFTP into a system session of the first group that a host names."""
    opts: dict[str, object] = {"allowed_session_types": ["system"]}
    mounted = {"sftp": ["volume1"], "elsewhere": ["volume2"], "foreign": ["volume1"], seed.scaling_group: ["volume1"]}
    async with begin() as tx:
        for group, volumes in mounted.items():
            said = {"name": f"node-of-{group}", "scaling_group": group, "volumes": volumes}
            await record_heartbeat(tx, heartbeat(uuid4(), "1").model_copy(update=said))
        for group in ("sftp", "elsewhere", "foreign"):
            await change_scaling_group(tx, group, {"scheduler_opts": opts, "is_public": False})
        await open_to(tx, Guest(GuestKind.DOMAIN, seed.domain), ["sftp", "elsewhere"])
    for caller in ("user", "admin"):
        _, answer = await door.ask("GET", "/folders/_/hosts", caller=caller)
        assert answer["volume_info"]["local:volume1"]["sftp_scaling_groups"] == ["sftp"]


async def _node(begin: Begin, group: str, **said: object) -> None:
    told = {"name": f"node-of-{group}", "scaling_group": group, "volumes": ["volume1"]} | said
    async with begin() as tx:
        await record_heartbeat(tx, heartbeat(uuid4(), "1").model_copy(update=told))
        await change_scaling_group(tx, group, {"scheduler_opts": {"allowed_session_types": ["system"]}})


async def _groups_for_uploads(door: Door, query: str = "", caller: str = "user") -> list[str]:
    _, answer = await door.ask("GET", f"/folders/_/hosts{query}", caller=caller)
    found: list[str] = answer["volume_info"]["local:volume1"]["sftp_scaling_groups"]
    return found


async def test_a_host_names_for_a_project_only_groups_that_sessions_of_it_may_use(
    door: Door, seed: Seed, begin: Begin
) -> None:
    second = uuid4()
    await _node(begin, "sftp")
    async with begin() as tx:
        made = {"id": second, "name": "second", "domain_name": seed.domain, "resource_policy": "default"}
        await tx.execute(projects.insert().values(**made, allowed_vfolder_hosts={"local:volume1": ["create-vfolder"]}))
        await tx.execute(project_members.insert().values(project_id=second, user_id=seed.user.user_id))
        await open_to(tx, Guest(GuestKind.PROJECT, second), ["sftp"])
    for named in (second, second.hex, "second"):
        assert await _groups_for_uploads(door, f"?group_id={named}") == ["sftp"]
    for named in (seed.project, "default"):
        assert await _groups_for_uploads(door, f"?group_id={named}") == []
    assert await _groups_for_uploads(door) == ["sftp"], "in one of the projects"


async def test_a_host_names_no_group_whose_nodes_take_no_sessions(
    door: Door, seed: Seed, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = ["a-lost", "closed", "sftp"]
    for group in groups:
        await _node(begin, group)
    async with begin() as tx:
        await tx.execute(nodes.update().where(nodes.c.scaling_group == "a-lost").values(status="LOST"))
        await tx.execute(nodes.update().where(nodes.c.scaling_group == "closed").values(schedulable=False))
        await open_to(tx, Guest(GuestKind.DOMAIN, seed.domain), groups)
    monkeypatch.delattr(repository, "list_nodes")  # with all their devices and images they are many
    assert await _groups_for_uploads(door) == ["sftp"]


async def test_all_hosts_are_listed_for_superadmins(door: Door) -> None:
    for path in ("/folders/_/all_hosts", "/folders/_/all-hosts"):
        expected = {"default": "local:volume1", "allowed": ["local:volume1"]}
        assert await door.ask("GET", path, caller="admin") == (200, expected)
        assert (await door.ask("GET", path))[0] == 403


async def test_types_of_folders_are_listed_in_all_spellings(door: Door) -> None:
    for path in ("/folders/_/allowed_types", "/folders/_/allowed-types", "/config/vfolder-types"):
        assert await door.ask("GET", path) == (200, ["group", "user"])


async def test_anybody_may_read_what_is_public(door: Door) -> None:
    assert await door.ask("GET", "/manager/announcement", caller=None) == (200, {"enabled": False, "message": ""})
    assert await door.ask("GET", "/config/resource-slots", caller=None) == (200, {"cpu": "count", "mem": "bytes"})
    status, details = await door.ask("GET", "/config/resource-slots/details?sgroup=default", caller=None)
    assert (status, set(details)) == (200, {"cpu", "mem"})
    assert set(details["mem"]) == {
        *("slot_name", "description", "human_readable_name", "display_unit", "number_format", "display_icon")
    }


async def test_slots_that_are_given_in_parts_have_a_quantum(door: Door, begin: Begin) -> None:
    async with begin() as tx:
        for group, shares in (("fine", 50), ("coarse", 20)):
            gpu = Device(id="GPU-1", slot="cuda.shares", model="A100", shares=shares)
            said = {"name": group, "scaling_group": group, "slots": {"cuda.shares": "1"}, "devices": [gpu]}
            await record_heartbeat(tx, heartbeat(uuid4()).model_copy(update=said))
    for query, size in (("", 0.1), ("?sgroup=fine", 0.02), ("?sgroup=coarse", 0.05), ("?sgroup=none", None)):
        _, details = await door.ask("GET", f"/config/resource-slots/details{query}", caller=None)
        assert details["cuda.shares"].get("quantum_size") == size


async def test_the_manager_says_how_it_is(door: Door) -> None:
    status, said = await door.ask("GET", "/manager/status", {"status": "running"}, caller=None)
    assert status == 200
    assert said == {
        "nodes": [
            {
                "id": "i-one",
                "num_proc": 1,
                "service_addr": "127.0.0.1:8091",
                "heartbeat_timeout": 40.0,
                "ssl_enabled": False,
                "active_sessions": 2,
                "status": "running",
                "version": "25.5.2",
                "api_version": [8, "20240915"],
            }
        ],
        "status": "running",
        "active_sessions": 2,
    }


async def test_scaling_groups_are_listed_for_a_project(door: Door, seed: Seed) -> None:
    for group in ("default", str(seed.project)):
        assert await door.ask("GET", f"/scaling-groups?group={group}") == (
            200,
            {"scaling_groups": [{"name": "default"}]},
        )


async def test_scaling_groups_of_an_unknown_project_are_not_found(door: Door) -> None:
    assert (await door.ask("GET", "/scaling-groups?group=nothing"))[0] == 404
    assert (await door.ask("GET", "/scaling-groups"))[0] == 400
