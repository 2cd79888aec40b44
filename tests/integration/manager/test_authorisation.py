"""What each route needs. A new route fails here until somebody says in NEEDS who may call it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiohttp import web
from tests.integration.manager.api import Caller, Http, serving_api
from tests.integration.manager.conftest import Seed, seal

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import keypairs, project_members, users
from caravan_manager.vfolders.service import VFoldersService

SESSION, FOLDER, PATH = "train", "data", {"path": "a.txt", "size": 1}


class Need(Enum):
    """Who may call a route."""

    NOTHING = auto()
    """Anybody, without a signature."""
    SIGNATURE = auto()
    """Everybody who signs; the answer holds nothing of other people."""
    OWNERSHIP = auto()
    """Who may use the object that the request names; to others it does not exist."""
    ADMINISTRATION = auto()
    """Administrators, of a domain or of all; others are refused."""


@dataclass(frozen=True)
class Rule:
    """What a route needs, and a body with which its parameters are complete."""

    need: Need
    body: object = None


def _nothing(body: object = None) -> Rule:
    return Rule(Need.NOTHING, body)


def _signature(body: object = None) -> Rule:
    return Rule(Need.SIGNATURE, body)


def _ownership(body: object = None) -> Rule:
    return Rule(Need.OWNERSHIP, body)


GRAPHQL = {
    "query": "{ compute_session_list(limit: 10, offset: 0) { items { id } }"
    " vfolder_own_list(limit: 10, offset: 0) { items { id } } }"
}
BY_ID = {"id": "{folder}"}
NEEDS: dict[tuple[str, str], Rule] = {
    ("GET", "/"): _nothing(),
    ("GET", "/health"): _nothing(),
    ("POST", "/auth/authorize"): _nothing(),
    ("POST", "/auth/update-password-no-auth"): _nothing(),
    ("GET", "/manager/announcement"): _nothing(),
    ("GET", "/manager/status"): _nothing(),
    ("GET", "/config/resource-slots"): _nothing(),
    ("GET", "/etcd/resource-slots"): _nothing(),
    ("GET", "/config/resource-slots/details"): _nothing(),
    ("GET", "/config/vfolder-types"): _nothing(),
    ("GET", "/auth"): _signature({"echo": "x"}),
    ("POST", "/auth"): _signature({"echo": "x"}),
    ("GET", "/auth/test"): _signature({"echo": "x"}),
    ("POST", "/auth/test"): _signature({"echo": "x"}),
    ("GET", "/auth/role"): _signature(),
    ("POST", "/auth/logout"): _signature(),
    ("POST", "/auth/update-password"): _signature(),
    ("POST", "/auth/signout"): _signature(),
    ("POST", "/auth/update-full-name"): _signature({"full_name": "Ada"}),
    ("POST", "/admin/gql"): _signature(GRAPHQL),
    ("POST", "/admin/graphql"): _signature(GRAPHQL),
    ("GET", "/resource/presets"): _signature(),
    ("POST", "/resource/check-presets"): _signature({"group": "default"}),
    ("GET", "/scaling-groups"): _signature({"group": "default"}),
    ("POST", "/session"): _signature(),
    ("POST", "/session/_/create"): _signature(),
    ("GET", "/session/_/match"): _signature({"id": SESSION}),
    ("GET", "/session/_/logs"): _ownership({"session_name": SESSION}),
    ("GET", "/session/{session}"): _ownership(),
    ("PATCH", "/session/{session}"): _ownership(),
    ("POST", "/session/{session}/rename"): _ownership({"name": "other-name"}),
    ("GET", "/session/{session}/logs"): _ownership(),
    ("GET", "/session/{session}/status-history"): _ownership(),
    ("GET", "/session/{session}/dependency-graph"): _ownership(),
    ("DELETE", "/session/{session}"): _ownership(),
    ("GET", "/events/session"): _signature({"sessionId": "-"}),
    ("GET", "/events/background-task"): _signature({"task_id": "-"}),
    ("POST", "/folders"): _signature(),
    ("GET", "/folders"): _signature(),
    ("GET", "/folders/_/hosts"): _signature(),
    ("GET", "/folders/_/allowed_types"): _signature(),
    ("GET", "/folders/_/allowed-types"): _signature(),
    ("GET", "/folders/_/all_hosts"): _signature(),
    ("GET", "/folders/_/all-hosts"): _signature(),
    ("GET", "/folders/_/id"): _ownership({"name": FOLDER}),
    ("GET", "/folders/{folder}"): _ownership(),
    ("GET", "/folders/{folder}/files"): _ownership(),
    ("POST", "/folders/{folder}/mkdir"): _ownership({"path": "a"}),
    ("POST", "/folders/{folder}/request-upload"): _ownership(PATH),
    ("POST", "/folders/{folder}/request-download"): _ownership(PATH),
    ("POST", "/folders/{folder}/rename"): _ownership({"new_name": "other"}),
    ("DELETE", "/folders"): _ownership(BY_ID),
    ("POST", "/folders/restore-from-trash-bin"): _ownership(BY_ID),
    ("DELETE", "/folders/{folder}"): _ownership(),
    ("POST", "/folders/delete-from-trash-bin"): _ownership(BY_ID),
    ("POST", "/folders/purge"): Rule(Need.ADMINISTRATION, BY_ID),
}
"""In an order in which the owner of session and folder can call all of them."""
NEEDS |= {
    (method, "/kernel" + path.removeprefix("/session")): rule
    for (method, path), rule in NEEDS.items()
    if path.startswith("/session")
}
NEEDS = {
    ("POST", "/session/_/explain"): _signature({"image": "caravan/python:3.11-bookworm"}),
    ("GET", "/session/{session}/explain"): _ownership(),
} | NEEDS
"""Caravan's own routes, which no old client knows under `/kernel`."""

NOT_FOUND_FOR_THE_OWNER = {"/session/{session}/logs", "/session/_/logs"}
"""A pending session has no log yet."""


@dataclass(frozen=True)
class World:
    """A user with a session and a folder, and a stranger of the same project."""

    client: Http
    owner: Caller
    stranger: Caller
    session: str
    folder: str

    def named(self, path: str, *, by_id: bool = True) -> str:
        """Return a route's path with the owner's things in it."""
        session, folder = (self.session, self.folder) if by_id else (SESSION, FOLDER)
        return path.replace("{session}", session).replace("{folder}", folder)

    def body(self, rule: Rule) -> Any:
        """Return a rule's body with the owner's folder in it."""
        return orjson.loads(orjson.dumps(rule.body).replace(b"{folder}", self.folder.encode()))

    async def ask(self, caller: Caller, method: str, path: str, rule: Rule) -> tuple[int, Any]:
        """Call a route."""
        body = self.body(rule)
        query = "?id=" + SESSION if path.endswith("/match") else ""
        return await caller.call(method, path + query, body)


@pytest.fixture
async def world(begin: Begin, seed: Seed, vfolders: VFoldersService) -> AsyncGenerator[World, None]:
    stranger, access_key, secret = uuid4(), "AKIATESTSTRANGERAAAA", "stranger-secret-key-for-the-tests-0000000"
    async with begin() as tx:
        person = {"id": stranger, "username": "stranger", "email": "stranger@example.com", "password_hash": "-"}
        await tx.execute(
            users.insert().values(
                **person, domain_name="default", resource_policy="default", main_access_key=access_key
            )
        )
        await tx.execute(
            keypairs.insert().values(
                access_key=access_key, secret_ciphertext=seal(secret), user_id=stranger, resource_policy="default"
            )
        )
        await tx.execute(project_members.insert().values(project_id=seed.project, user_id=stranger))
    async with serving_api(begin, vfolders) as client:
        owner = Caller(client, seed.user.access_key, seed.user_secret)
        session = {"name": SESSION, "image": seed.image_reference, "enqueueOnly": True, "config": {}}
        made = await owner.call("POST", "/session", session)
        folder = await owner.call("POST", "/folders", {"name": FOLDER})
        assert (made[0], folder[0]) == (201, 201)
        stranger_calls = Caller(client, access_key, secret)
        yield World(client, owner, stranger_calls, made[1]["sessionId"], folder[1]["id"])


def _routes(client: Http) -> set[tuple[str, str]]:
    app: web.Application = client.app
    found: set[tuple[str, str]] = set()
    for route in app.router.routes():
        assert route.resource is not None
        if route.method != "HEAD":
            found.add((route.method, route.resource.canonical))
    return found


async def test_it_is_said_of_each_route_what_it_needs(world: World) -> None:
    assert _routes(world.client) == set(NEEDS), "say in NEEDS who may call these"


async def test_without_a_signature_only_the_open_routes_answer(world: World) -> None:
    forger = Caller(world.client, world.owner.access_key, "not-the-secret-key")
    for (method, path), rule in NEEDS.items():
        async with world.client.request(method, world.named(path)) as answer:
            if rule.need is Need.NOTHING:
                assert answer.status in ({200} if method == "GET" else {400}), (method, path)
                continue
            assert answer.status == 400, (method, path)
            assert (await answer.json(content_type=None))["type"].endswith("/invalid-auth-params")
        status, problem = await forger.call(method, world.named(path))
        assert (status, problem["msg"]) == (401, "Signature mismatch"), (method, path)


async def test_nobody_reaches_what_belongs_to_others(world: World) -> None:
    for (method, path), rule in NEEDS.items():
        if rule.need is Need.NOTHING:
            continue
        for by_id in (True, False):
            status, answer = await world.ask(world.stranger, method, world.named(path, by_id=by_id), rule)
            said = str(answer)
            assert world.session not in said or rule.need is Need.OWNERSHIP, (method, path, said)
            if rule.need is Need.OWNERSHIP:
                assert status in {403, 404}, (method, path, by_id, status, said)
            elif rule.need is Need.ADMINISTRATION:
                assert status == 403, (method, path, status)
            else:
                assert status < 500, (method, path, status)
                assert world.folder not in said, (method, path, said)


async def test_the_owner_reaches_all_of_it(world: World) -> None:
    for (method, path), rule in NEEDS.items():
        if rule.need is not Need.OWNERSHIP or path in NOT_FOUND_FOR_THE_OWNER or path.startswith("/kernel"):
            continue
        status, answer = await world.ask(world.owner, method, world.named(path), rule)
        assert status not in {401, 403, 404}, (method, path, status, answer)
