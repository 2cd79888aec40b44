"""The manager's API over HTTP in tests: the real application on the test's database, and callers who sign."""

import base64
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tests.fakes.agents import FakeAgents
from tests.fakes.nomad import FakeNomad
from tests.integration.manager.conftest import seal

from caravan_manager.api.limits import RateLimits
from caravan_manager.api.origin import TrustedProxies
from caravan_manager.api.rest.information import ManagerIdentity
from caravan_manager.api.signature import SignedRequest, sign
from caravan_manager.app import make_api
from caravan_manager.db.engine import Begin
from caravan_manager.images.service import ImagesService
from caravan_manager.nodes.administration import NodesAdministration
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.accounts import AccountsService
from caravan_manager.people.administration import PeopleAdministration
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.people.service import PeopleService
from caravan_manager.people.throttle import LoginThrottle
from caravan_manager.quotas.service import QuotasService
from caravan_manager.scheduler.explaining.service import ExplanationsService
from caravan_manager.scheduler.options import check_options
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.sessions.following import SessionEvents
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService
from caravan_manager.wiring import Services

VERSION = "v8.20240915"
Http = TestClient[Any, Any]


class Sealed:
    """Stands for Vault's Transit: seals as the seed of the tests does."""

    async def encrypt(self, plaintext: str) -> str:
        return seal(plaintext)

    async def decrypt_all(self, ciphertexts: Sequence[str]) -> list[str]:
        return [base64.b64decode(c.removeprefix("vault:v1:")).decode() for c in ciphertexts]


@dataclass
class Caller:
    """Sends requests signed with one keypair."""

    client: Http
    access_key: str
    secret_key: str

    async def call(self, method: str, path: str, body: object = None, **changes: str) -> tuple[int, Any]:
        """Send a signed request; ``changes`` replace headers."""
        url = self.client.make_url(path)
        date = datetime.now(UTC).isoformat()
        content_type = "application/json"
        signed = SignedRequest(method, url.raw_path_qs, date, f"{url.host}:{url.port}", content_type, VERSION)
        signature = sign(signed, datetime.fromisoformat(date), self.secret_key, "sha256")
        headers = {
            "Date": date,
            "Content-Type": content_type,
            "X-BackendAI-Version": VERSION,
            "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential={self.access_key}:{signature}",
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        data = None if body is None else orjson.dumps(body)
        async with self.client.request(method, path, data=data, headers=headers) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None


def redis_at(port: int) -> Redis:
    """Return a client that connects when it is first used; at port 9 nobody listens."""
    return Redis(host="127.0.0.1", port=port, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))


class Server(TestServer):
    """Serves as the manager does: a handler whose client goes away is not cancelled."""

    __test__ = False

    async def _make_runner(self, **options: Any) -> web.BaseRunner:
        return web.AppRunner(self.app, **options | {"handler_cancellation": False})


@asynccontextmanager
async def serving_api(
    begin: Begin,
    vfolders: VFoldersService | None = None,
    *,
    version: str = "25.5.2",
    proxies: Sequence[str] = (),
    redis: Redis | None = None,
    max_password_age: timedelta | None = None,
    only_superadmins_designate: bool = False,
    remember_seconds: float = 0,
) -> AsyncGenerator[Http, None]:
    """Serve the whole API while the block runs."""

    def now() -> datetime:
        return datetime.now(UTC)

    folders = vfolders or VFoldersService(begin, {})
    secrets, store = SecretKeys(Sealed(), time.monotonic), redis or redis_at(9)
    remembered = RememberedCredentials(remember_seconds, time.monotonic)
    news = SessionNews()
    moves = SessionMoves(begin, news, now)
    agents, nomad = FakeAgents(), FakeNomad()
    restarts = Restarts(moves, nomad, agents)
    sessions = SessionsService(
        begin, moves, folders, agents, nomad, now, restarts, only_superadmins_designate=only_superadmins_designate
    )
    services = Services(
        people=PeopleService(begin, secrets, remembered),
        people_admin=PeopleAdministration(begin, remembered),
        accounts=AccountsService(begin, secrets, LoginThrottle(store), now, max_password_age, remembered),
        sessions=sessions,
        explanations=ExplanationsService(begin, sessions, now),
        events=SessionEvents(begin, news),
        vfolders=folders,
        images=ImagesService(begin),
        nodes=NodesService(begin),
        node_admin=NodesAdministration(begin, partial(check_options, plugins=find_plugins())),
        quotas=QuotasService(begin),
        limits=RateLimits(store, time.monotonic),
    )
    app = make_api(services, ManagerIdentity("i-test", "127.0.0.1:0", version), TrustedProxies(proxies))
    async with TestClient(Server(app)) as client:
        yield client
