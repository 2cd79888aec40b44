"""The GraphQL door over HTTP on a real PostgreSQL, people to ask it, and the SQL that it sends."""

import time
from collections.abc import AsyncGenerator, Generator
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine as DatabaseEngine
from sqlalchemy import event
from tests.integration.manager.fake_storage import FakeStorageProxy
from tests.integration.manager.graphql.made import MORNING, Door, Sealed, add_person

from caravan_common.http import Handler, problems
from caravan_common.nomad.client import NomadCluster
from caravan_manager.api import context
from caravan_manager.api.graphql.door import ENGINE, Engine, routes
from caravan_manager.api.graphql.schema import make_schema
from caravan_manager.db.engine import Begin
from caravan_manager.db.reading import Query, Reader, ReadRow
from caravan_manager.db.tables import (
    domains,
)
from caravan_manager.images.service import ImagesService
from caravan_manager.nodes.administration import NodesAdministration
from caravan_manager.nodes.agents import HttpAgents
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.administration import PeopleAdministration
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.people.service import PeopleService
from caravan_manager.quotas.service import QuotasService
from caravan_manager.scheduler.explaining.service import ExplanationsService
from caravan_manager.scheduler.options import check_options
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService


@pytest.fixture
async def door(begin: Begin) -> AsyncGenerator[Door, None]:
    callers: dict[str, Principal] = {}
    cipher = Sealed()

    @web.middleware
    async def take_for_granted(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[context.PRINCIPAL] = callers[request.headers["X-Caller"]]
        return await handler(request)

    app = web.Application(middlewares=[problems, take_for_granted])
    app.add_routes(routes)
    async with aiohttp.ClientSession() as outside:
        vfolders_service = VFoldersService(begin, {"local": FakeStorageProxy()})
        app[ENGINE] = Engine(make_schema())
        app[context.PEOPLE] = PeopleService(begin, SecretKeys(cipher, time.monotonic))
        app[context.PEOPLE_ADMIN] = PeopleAdministration(begin, RememberedCredentials(0, time.monotonic))
        moves = SessionMoves(begin, SessionNews(), lambda: MORNING)
        agents, nomad = HttpAgents(outside, "no token"), NomadCluster("http://127.0.0.1:9", "caravan")
        restarts = Restarts(moves, nomad, agents)
        app[context.SESSIONS] = SessionsService(
            begin, moves, vfolders_service, agents, nomad, lambda: MORNING, restarts
        )
        app[context.EXPLANATIONS] = ExplanationsService(begin, app[context.SESSIONS], lambda: MORNING)
        app[context.VFOLDERS] = vfolders_service
        app[context.IMAGES] = ImagesService(begin)
        app[context.NODES] = NodesService(begin)
        app[context.NODE_ADMIN] = NodesAdministration(begin, partial(check_options, plugins=find_plugins()))
        app[context.QUOTAS] = QuotasService(begin)
        async with TestClient(TestServer(app)) as client:
            yield Door(client, callers, cipher)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Generator[list[str], None, None]:
    """The SQL that was sent since the test cleared the list, in transactions and by the reader."""
    sent: list[str] = []
    read = Reader.rows

    async def rows(self: Reader, query: Query, **values: object) -> list[ReadRow]:
        sent.append(query.text)
        return await read(self, query, **values)

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    monkeypatch.setattr(Reader, "rows", rows)
    event.listen(DatabaseEngine, "before_cursor_execute", note)
    yield sent
    event.remove(DatabaseEngine, "before_cursor_execute", note)


@pytest.fixture
async def other(begin: Begin, seed: Any) -> Principal:
    """Another user of the same domain, in no project."""
    return await add_person(begin, seed.user, "other", UserRole.USER, "AKIATESTOTHERAAAAAAA", "default")


@pytest.fixture
async def domain_admin(begin: Begin, seed: Any) -> Principal:
    """The administrator of another domain."""
    async with begin() as tx:
        await tx.execute(domains.insert().values(name="elsewhere"))
    return await add_person(begin, seed.user, "boss", UserRole.ADMIN, "AKIATESTBOSSAAAAAAAA", "elsewhere")
