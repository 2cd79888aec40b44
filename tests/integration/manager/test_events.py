"""Events of sessions over HTTP: who sees what, how a stream begins and ends; how news go from manager to manager."""

# ruff: noqa: ASYNC110 - a test looks again and again

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from tests.fakes.agents import FakeAgents
from tests.fakes.nomad import FakeNomad
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_agent_watcher import heartbeat
from tests.integration.manager.test_session_life import request
from tests.integration.redis_server import RedisServer

from caravan_common.http import Handler, problems
from caravan_common.service import end
from caravan_common.states import SessionStatus, SessionType
from caravan_common.wire.events import Streams
from caravan_manager.api import context
from caravan_manager.api.cors import share
from caravan_manager.api.rest import events
from caravan_manager.db.engine import Begin
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal
from caravan_manager.reconcile.exchange import NewsExchange
from caravan_manager.sessions import following
from caravan_manager.sessions.following import SessionEvents
from caravan_manager.sessions.model import Seat, Session
from caravan_manager.sessions.moves import Move, SessionMoves
from caravan_manager.sessions.news import News, SessionNews
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

NODE = uuid4()
STREAM = Streams.of("caravan:events").sessions


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Manager:
    """The door of events, and the service and the moves that make some."""

    client: "TestClient[Any, Any]"
    service: SessionsService
    moves: SessionMoves
    events: SessionEvents

    async def create(self, principal: Principal, name: str = "train") -> Session:
        wanted = request(name, type=SessionType.INTERACTIVE)
        return (await self.service.create(principal, wanted)).session

    async def move(self, session: Session, *moves: Move) -> Session:
        for move in moves:
            session = await self.moves.apply(session.id, move)
        return session

    async def start(self, session: Session) -> Session:
        seats = {kernel.id: Seat(f"n-{NODE}") for kernel in session.kernels}
        main = session.main_kernel.id
        return await self.move(
            session,
            lambda s, at: s.scheduled(seats, at),
            lambda s, at: s.submitted(at),
            lambda s, at: s.kernel_started(main, "c0ffee", at),
        )

    async def end(self, session: Session) -> Session:
        main = session.main_kernel.id
        return await self.move(
            session,
            lambda s, at: s.destroyed("user-requested", at),
            lambda s, at: s.kernel_terminated(main, 143, "exited", at),
        )

    @asynccontextmanager
    async def following(self, caller: Principal, query: str = "", **headers: str) -> AsyncIterator["Reader"]:
        path = f"/events/session{query}"
        async with self.client.get(path, headers={"X-Caller": caller.access_key} | headers) as answer:
            assert answer.status == 200, await answer.text()
            yield Reader(answer)

    async def refused(self, caller: Principal, path: str) -> tuple[int, Any]:
        async with self.client.get(path, headers={"X-Caller": caller.access_key}) as answer:
            return answer.status, orjson.loads(await answer.read())


@dataclass
class Reader:
    """Reads server-sent events as the standard has them."""

    answer: aiohttp.ClientResponse

    async def next(self) -> tuple[str, Any] | None:
        """Return the next event's name and data, or None at the end of the stream."""
        name, data = "message", ""
        async with asyncio.timeout(20):
            while line := (await self.answer.content.readline()).decode():
                word, _, rest = line.rstrip("\r\n").partition(": ")
                if word == "event":
                    name = rest
                elif word == "data":
                    data += rest
                elif word == "" and line.strip() == "" and data:
                    return name, orjson.loads(data)
        return None

    async def names(self, count: int) -> list[str]:
        return [event[0] for _ in range(count) if (event := await self.next()) is not None]


@pytest.fixture
async def manager(begin: Begin, seed: Seed) -> AsyncGenerator[Manager, None]:
    await NodesService(begin).heard(heartbeat(NODE))
    news = SessionNews()
    moves = SessionMoves(begin, news, now)
    agents, nomad = FakeAgents(), FakeNomad()
    restarts = Restarts(moves, nomad, agents)
    service = SessionsService(begin, moves, VFoldersService(begin, {}), agents, nomad, now, restarts)
    callers = {principal.access_key: principal for principal in (seed.admin, seed.user)}

    @web.middleware
    async def take_for_granted(incoming: web.Request, handler: Handler) -> web.StreamResponse:
        incoming[context.PRINCIPAL] = callers[incoming.headers["X-Caller"]]
        return await handler(incoming)

    app = web.Application(middlewares=[problems, take_for_granted])
    app.add_routes(events.routes)
    app.on_response_prepare.append(share)
    app[context.EVENTS] = SessionEvents(begin, news)
    async with TestClient(TestServer(app)) as client:
        yield Manager(client, service, moves, app[context.EVENTS])
        app[context.EVENTS].close()


async def test_a_user_follows_a_session_from_the_queue_to_its_end(manager: Manager, user: Principal) -> None:
    async with manager.following(user) as reader:
        assert reader.answer.content_type == "text/event-stream"
        session = await manager.create(user)
        await manager.end(await manager.start(session))
        told = [await reader.next() for _ in range(9)]
    assert [event[0] for event in told if event] == [
        "session_enqueued",
        "session_scheduled",
        "kernel_preparing",
        "kernel_started",
        "session_started",
        "session_terminating",
        "kernel_terminating",
        "kernel_terminated",
        "session_terminated",
    ]
    assert told[0] == (
        "session_enqueued",
        {
            "reason": "unknown",
            "sessionName": "train",
            "ownerAccessKey": user.access_key,
            "sessionId": str(session.id),
            "exitCode": None,
        },
    )
    assert told[7] is not None
    assert told[7][1] == told[0][1] | {  # type: ignore[index]
        "reason": "user-requested",
        "exitCode": 143,
        "kernelId": str(session.main_kernel.id),
        "clusterRole": "main",
        "clusterIdx": 1,
    }


async def test_users_see_their_own_and_the_superadmin_all(manager: Manager, user: Principal, admin: Principal) -> None:
    async with manager.following(user) as mine, manager.following(admin) as all_:
        theirs = await manager.create(admin, "theirs")
        await manager.end(theirs)
        session = await manager.create(user)
        assert (await mine.next() or ("", {}))[1]["sessionId"] == str(session.id)
        assert (await all_.next() or ("", {}))[1]["sessionId"] == str(theirs.id)


async def test_a_user_may_not_name_another_keypair(manager: Manager, user: Principal, admin: Principal) -> None:
    status, problem = await manager.refused(user, f"/events/session?ownerAccessKey={admin.access_key}")
    assert (status, problem["type"].rpartition("/")[2]) == (403, "generic-forbidden")
    async with manager.following(admin, f"?sessionName=train&ownerAccessKey={user.access_key}") as reader:
        await manager.create(admin)
        session = await manager.create(user)
        assert (await reader.next() or ("", {}))[1]["sessionId"] == str(session.id)


async def test_names_scopes_and_projects_choose(manager: Manager, user: Principal) -> None:
    async with (
        manager.following(user, "?name=train&scope=kernel") as kernels,
        manager.following(user, "?sessionName=other&groupName=default") as other,
        manager.following(user, "?scope=session,kernel&group=*") as everything,
    ):
        session = await manager.start(await manager.create(user))
        await manager.create(user, "other")
        assert await kernels.names(2) == ["kernel_preparing", "kernel_started"]
        assert (await other.next() or ("", {}))[1]["sessionName"] == "other"
        assert len(await everything.names(6)) == 6
    assert session.status is SessionStatus.RUNNING


async def test_a_stream_of_one_session_is_closed_for_good_when_it_ends(manager: Manager, user: Principal) -> None:
    session = await manager.create(user)
    async with manager.following(user, f"?sessionId={session.id}") as reader:
        await manager.end(await manager.start(session))
        names = await reader.names(20)
    assert names[-2:] == ["session_terminated", "server_close"]
    async with manager.following(user, f"?sessionId={session.id}&sessionName=other") as late:
        assert await late.names(20) == ["session_terminated", "server_close"]


async def test_a_stranger_learns_nothing_of_a_session_by_its_id(
    manager: Manager, user: Principal, admin: Principal
) -> None:
    session = await manager.create(admin)
    async with manager.following(user, f"?sessionId={session.id}") as reader:
        await manager.end(await manager.start(session))
        manager.events.close()
        assert await reader.next() is None


async def test_when_the_manager_stops_clients_are_not_told_to_stay_away(manager: Manager, user: Principal) -> None:
    async with manager.following(user) as reader:
        await manager.create(user)
        manager.events.close()
        assert await reader.names(5) == ["session_enqueued"]


@pytest.mark.parametrize(
    ("query", "status", "slug", "data"),
    [
        ("session?scope=everything", 400, "invalid-api-params", {"scope"}),
        ("session?sessionId=train", 400, "invalid-api-params", {"sessionId"}),
        ("session?group=nobodys", 404, "object-not-found", set()),
        ("background-task", 400, "invalid-api-params", {"task_id"}),
        ("background-task?task_id=one", 400, "invalid-api-params", {"task_id"}),
    ],
)
async def test_wrong_parameters_are_named(
    manager: Manager, user: Principal, query: str, status: int, slug: str, data: set[str]
) -> None:
    answered, problem = await manager.refused(user, f"/events/{query}")
    assert (answered, problem["type"].rpartition("/")[2]) == (status, slug)
    assert {name.partition(".")[0] for name in problem.get("data", {})} == data


async def test_an_unknown_task_is_an_empty_stream_as_the_real_manager_has_it(manager: Manager, user: Principal) -> None:
    for spelling in ("task_id", "taskId"):
        path = f"/events/background-task?{spelling}={uuid4()}"
        async with manager.client.get(path, headers={"X-Caller": user.access_key}) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", b"")


async def test_pages_of_other_origins_may_read_the_stream(manager: Manager, user: Principal) -> None:
    async with manager.following(user, Origin="http://webui.example") as reader:
        assert reader.answer.headers["Access-Control-Allow-Origin"] == "http://webui.example"


async def test_a_user_opens_so_many_streams_and_no_more(
    manager: Manager, user: Principal, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "STREAMS_OF_ONE_USER", 2)
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.05)
    async with manager.following(user), manager.following(user):
        status, problem = await manager.refused(user, "/events/session")
        assert (status, problem["type"].rpartition("/")[2]) == (429, "rate-limit-exceeded")
        async with manager.following(admin):
            pass
    headers = {"X-Caller": user.access_key}
    async with asyncio.timeout(20):  # the places of readers who left become free
        while (await manager.client.head("/events/session", headers=headers)).status == 429:
            await asyncio.sleep(0.05)
    async with manager.following(user):
        pass


@asynccontextmanager
async def exchanging(server: RedisServer, news: SessionNews) -> AsyncIterator[None]:
    redis = Redis(host="127.0.0.1", port=server.port, socket_timeout=30)
    exchange = NewsExchange(redis, STREAM, news)
    tasks = [asyncio.create_task(exchange.send()), asyncio.create_task(exchange.hear())]
    try:
        yield
    finally:
        await end(tasks)
        await redis.aclose()


async def heard(teller: SessionNews, hearer: SessionNews) -> UUID:
    """Tell news until they are heard: an exchange hears from its own start on. Returns the session."""
    async with asyncio.timeout(60):
        while True:
            session = uuid4()
            async with hearer.following(session) as waiter:
                teller.moved(News(session))
                try:
                    async with asyncio.timeout(0.5):
                        await waiter.wait()
                except TimeoutError:
                    continue
                return session


async def test_the_news_of_one_manager_reach_the_others(
    manager: Manager, user: Principal, redis_server: RedisServer
) -> None:
    other = SessionNews()
    async with exchanging(redis_server, manager.moves.news), exchanging(redis_server, other):
        await heard(manager.moves.news, other)
        with other.streaming(following.EventFilter(user)) as stream:
            session = await manager.start(await manager.create(user))
            told = [await stream.next(20) for _ in range(5)]
        assert [event.name for event in told if event][-1] == "session_started"
        assert {event.session for event in told if event} == {session.id}


async def test_a_redis_that_goes_and_loses_everything_delays_news_only(redis_server: RedisServer) -> None:
    one, other = SessionNews(), SessionNews()
    async with exchanging(redis_server, one), exchanging(redis_server, other):
        await heard(one, other)
        await redis_server.stop()
        told = uuid4()
        async with other.following(told) as waiter:
            one.moved(News(told))  # returns at once: this test's limit would be too short otherwise
            await redis_server.start()
            async with asyncio.timeout(60):
                await waiter.wait()
        await heard(other, one)
