"""The manager's door over HTTP: every way to sign, tokens, acting for others, networks, proxies, limits."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import orjson
import pytest
from sqlalchemy import select
from tests.integration.manager.api import VERSION, Caller, Http, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.api.signature import SignedRequest, sign
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, keypairs, users
from caravan_manager.people.model import UserRole
from caravan_manager.vfolders.service import VFoldersService

ECHO = {"authorized": "yes", "echo": "hello"}


@dataclass(frozen=True)
class Signed:
    """A request in the spelling of some client."""

    method: str = "GET"
    path: str = "/auth?echo=hello"
    content_type: str | None = "application/json"
    """None sends no header and signs ``application/octet-stream``."""
    sent_type: str | None = None
    date_header: str = "Date"
    brand: str = "BackendAI"
    algorithm: str = "SHA256"
    signed_host: str | None = None
    signed_path: str | None = None
    signed_method: str | None = None
    body: bytes | None = None

    def headers(self, client: Http, seed: Seed) -> dict[str, str]:
        url = client.make_url(self.path)
        date = datetime.now(UTC)
        signed = SignedRequest(
            method=self.signed_method or self.method,
            raw_path=self.signed_path or url.raw_path_qs,
            date=date.isoformat(),
            host=self.signed_host or f"{url.host}:{url.port}",
            content_type=self.content_type or "application/octet-stream",
            version=VERSION,
            brand=self.brand.lower(),
        )
        signature = sign(signed, date, seed.user_secret, self.algorithm.lower())
        credential = f"credential={seed.user.access_key}:{signature}"
        sent = self.sent_type or self.content_type
        return {
            self.date_header: date.isoformat(),
            f"X-{self.brand}-Version": VERSION,
            "Authorization": f"{self.brand} signMethod=HMAC-{self.algorithm}, {credential}",
        } | ({} if sent is None else {"Content-Type": sent})


async def ask(client: Http, signed: Signed, seed: Seed, **more: str) -> tuple[int, Any]:
    headers = signed.headers(client, seed) | {name.replace("_", "-"): value for name, value in more.items()}
    skipped = ["Content-Type"] if "Content-Type" not in headers else []
    async with client.request(
        signed.method, signed.path, data=signed.body, headers=headers, skip_auto_headers=skipped
    ) as answer:
        return answer.status, orjson.loads(await answer.read())


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator[Http, None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def admin_caller(client: Http, seed: Seed) -> Caller:
    return Caller(client, seed.admin.access_key, seed.admin_secret)


@pytest.fixture
def user_caller(client: Http, seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


@pytest.mark.parametrize(
    "signed",
    [
        Signed(),
        Signed(content_type=None),
        Signed(content_type="text/plain"),
        Signed(content_type="text/event-stream"),
        Signed(content_type="multipart/form-data", sent_type="multipart/form-data; boundary=xyz"),
        Signed(sent_type="Application/JSON; charset=utf-8"),
        Signed(date_header="X-BackendAI-Date"),
        Signed(brand="Sorna", date_header="X-Sorna-Date"),
        Signed(algorithm="SHA512"),
        Signed(path="/auth?echo=he%6Clo"),
        Signed(path="/auth", body=b'{"echo": "hello"}'),
        Signed("POST", "/auth", body=b'{"echo": "hello"}'),
        Signed("POST", "/auth/test", body=b'{"echo": "hello"}'),
    ],
)
async def test_every_clients_way_to_sign_is_understood(client: Http, seed: Seed, signed: Signed) -> None:
    assert await ask(client, signed, seed) == (200, ECHO)


async def test_the_date_header_goes_before_the_browsers(client: Http, seed: Seed) -> None:
    assert (await ask(client, Signed(), seed, X_BackendAI_Date="2020-01-01T00:00:00Z"))[0] == 200


async def test_a_request_with_a_date_and_no_signature_is_unauthorized(client: Http) -> None:
    async with client.get("/auth?echo=x", headers={"Date": datetime.now(UTC).isoformat()}) as answer:
        assert answer.status == 401
        assert (await answer.json(content_type=None))["msg"] == "Unauthorized access"


def _token(seed: Seed, **changes: Any) -> str:
    now = datetime.now(UTC)
    claims = {"exp": now + timedelta(minutes=15), "iat": now, "access_key": seed.user.access_key, "role": "user"}
    return jwt.encode(claims | changes, seed.user_secret, algorithm="HS256")


async def test_a_gateways_token_comes_in_without_a_signature(client: Http, seed: Seed) -> None:
    async with client.get("/auth?echo=hello", headers={"X-BackendAI-Token": _token(seed)}) as answer:
        assert (answer.status, await answer.json()) == (200, ECHO)


@pytest.mark.parametrize(
    "changes",
    [{"exp": 1}, {"role": "superadmin"}, {"access_key": "AKIATESTADMINAAAAAAA"}, {"access_key": "AKIANOBODY"}],
)
async def test_another_token_does_not(client: Http, seed: Seed, changes: dict[str, Any]) -> None:
    async with client.get("/auth?echo=hello", headers={"X-BackendAI-Token": _token(seed, **changes)}) as answer:
        assert answer.status == 401


async def test_inactive_keypairs_and_users_are_refused(user_caller: Caller, seed: Seed, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(users.update().where(users.c.id == seed.user.user_id).values(status="before-verification"))
    status, problem = await user_caller.call("GET", "/auth?echo=x")
    assert (status, problem["msg"]) == (401, "This account needs email verification.")
    async with begin() as tx:
        await tx.execute(users.update().where(users.c.id == seed.user.user_id).values(status="inactive"))
    assert (await user_caller.call("GET", "/auth?echo=x"))[0] == 401
    async with begin() as tx:
        await tx.execute(users.update().where(users.c.id == seed.user.user_id).values(status="active"))
        await tx.execute(keypairs.update().where(keypairs.c.user_id == seed.user.user_id).values(is_active=False))
    status, problem = await user_caller.call("GET", "/auth?echo=x")
    assert (status, problem["msg"]) == (401, "Access key not found")


async def test_a_user_comes_only_from_allowed_networks(seed: Seed, begin: Begin) -> None:
    async with begin() as tx:
        mine = users.update().where(users.c.id == seed.user.user_id)
        await tx.execute(mine.values(allowed_client_ip=["203.0.113.0/24"]))
    async with serving_api(begin, proxies=["127.0.0.0/8"]) as client:
        status, problem = await ask(client, Signed(), seed)
        assert (status, problem["msg"]) == (401, "'127.0.0.1' is not allowed IP address")
        assert await ask(client, Signed(), seed, X_Forwarded_For="203.0.113.7") == (200, ECHO)
        assert (await ask(client, Signed(), seed, X_Forwarded_For="203.0.113.7, 198.51.100.1"))[0] == 401
    async with serving_api(begin) as client:
        assert (await ask(client, Signed(), seed, X_Forwarded_For="203.0.113.7"))[0] == 401


async def test_behind_a_trusted_proxy_clients_sign_what_they_see(seed: Seed, begin: Begin) -> None:
    seen = Signed(signed_host="api.example.com", signed_path="/backend/auth?echo=hello")
    forwarded = {"X_Forwarded_Host": "api.example.com", "X_Forwarded_Prefix": "/backend"}
    async with serving_api(begin, proxies=["127.0.0.0/8"]) as client:
        assert await ask(client, seen, seed, **forwarded) == (200, ECHO)
    async with serving_api(begin) as client:
        assert (await ask(client, seen, seed, **forwarded))[0] == 401


async def test_another_method_can_be_meant_and_is_what_the_signature_covers(client: Http, seed: Seed) -> None:
    overridden = Signed("PUT", signed_method="GET")
    assert await ask(client, overridden, seed, X_Method_Override="GET") == (200, ECHO)
    assert (await ask(client, Signed("PUT"), seed, X_Method_Override="GET"))[0] == 401
    for method in ("DELETE", "CONNECT"):
        async with client.get("/auth", headers={"X-Method-Override": method}) as answer:
            assert answer.status == 405


def _session(seed: Seed, **more: object) -> dict[str, object]:
    return {"name": "train", "image": seed.image_reference, "enqueueOnly": True, "config": {}, **more}


async def test_an_administrator_makes_and_sees_a_users_session(
    admin_caller: Caller, user_caller: Caller, seed: Seed, begin: Begin
) -> None:
    body = _session(seed, owner_access_key=seed.user.access_key)
    status, made = await admin_caller.call("POST", "/session", body)
    assert status == 201
    assert (await user_caller.call("GET", "/session/train"))[1]["userId"] == str(seed.user.user_id)
    owned = f"?owner_access_key={seed.user.access_key}"
    assert (await admin_caller.call("GET", f"/session/train{owned}"))[0] == 200
    assert (await admin_caller.call("DELETE", f"/session/train{owned}"))[0] == 200
    async with begin() as tx:
        lines = (await tx.execute(select(audit_log).where(audit_log.c.target == made["sessionId"]))).all()
    assert len(lines) >= 2
    for line in lines:
        assert (line.actor, line.access_key) == (seed.admin.user_id, seed.admin.access_key)
        assert line.facts["for_access_key"] == seed.user.access_key


async def test_an_administrator_makes_a_users_folder(begin: Begin, seed: Seed, vfolders: VFoldersService) -> None:
    async with serving_api(begin, vfolders) as client:
        boss = Caller(client, seed.admin.access_key, seed.admin_secret)
        status, made = await boss.call("POST", "/folders", {"name": "data", "owner_access_key": seed.user.access_key})
        assert (status, made["user"]) == (201, str(seed.user.user_id))
        me = Caller(client, seed.user.access_key, seed.user_secret)
        assert [folder["name"] for folder in (await me.call("GET", "/folders"))[1]] == ["data"]
        query = f"/folders?owner_access_key={seed.user.access_key}"
        assert [folder["name"] for folder in (await boss.call("GET", query))[1]] == ["data"]


@pytest.mark.parametrize("spelling", ["owner_access_key", "ownerAccessKey"])
async def test_a_user_acts_for_nobody_else(user_caller: Caller, seed: Seed, spelling: str) -> None:
    status, problem = await user_caller.call("GET", f"/session/train?{spelling}={seed.admin.access_key}")
    assert (status, problem["msg"]) == (403, "Only admins can perform operations on behalf of other users.")
    status, problem = await user_caller.call("POST", "/session", _session(seed, owner_access_key=seed.admin.access_key))
    assert status == 403
    status, _ = await user_caller.call("GET", f"/session/train?{spelling}={seed.user.access_key}")
    assert status == 404


async def test_an_unknown_owner_is_an_error_of_the_request(admin_caller: Caller, seed: Seed) -> None:
    status, problem = await admin_caller.call("GET", "/session/train?owner_access_key=AKIANOBODY")
    assert (status, problem["msg"]) == (400, "Unknown owner access key")
    assert (await admin_caller.call("POST", "/session", _session(seed, owner_access_key=["a"])))[0] == 400


async def test_a_superadmin_acts_as_a_user(admin_caller: Caller, seed: Seed) -> None:
    document = {"query": "{ user { email } keypair { access_key } }"}
    as_user = {"X_BackendAI_Act_As": str(seed.user.user_id)}
    status, answer = await admin_caller.call("POST", "/admin/gql", document, **as_user)
    assert (status, answer["data"]["user"]["email"]) == (200, seed.user.email)
    assert answer["data"]["keypair"]["access_key"] == seed.user.access_key
    assert (await admin_caller.call("GET", "/auth?echo=x", X_BackendAI_Act_As="me"))[0] == 400
    assert (await admin_caller.call("GET", "/auth?echo=x", X_BackendAI_Act_As=str(uuid4())))[0] == 404
    both = f"/session/train?owner_access_key={seed.user.access_key}"
    assert (await admin_caller.call("GET", both, **as_user))[0] == 400


async def test_nobody_else_acts_as_a_user(user_caller: Caller, seed: Seed, begin: Begin) -> None:
    for role in (UserRole.USER, UserRole.ADMIN):
        async with begin() as tx:
            await tx.execute(users.update().where(users.c.id == seed.user.user_id).values(role=role.value))
        status, _ = await user_caller.call("GET", "/auth?echo=x", X_BackendAI_Act_As=str(seed.admin.user_id))
        assert status == 403


@pytest.mark.parametrize(("version", "has_reset"), [("25.5.2", False), ("26.9.6", True)])
async def test_answers_say_how_the_caller_stands(seed: Seed, begin: Begin, version: str, has_reset: bool) -> None:
    async with serving_api(begin, version=version) as client:
        async with client.get("/auth?echo=x", headers=Signed(path="/auth?echo=x").headers(client, seed)) as answer:
            headers = answer.headers
            assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("30000", "29999")
            assert headers["X-RateLimit-Window"] == "900"
            assert ("X-RateLimit-Reset" in headers) is has_reset
        for left in (999, 998):
            async with client.get("/") as answer:
                assert answer.headers["X-RateLimit-Limit"] == "1000"
                assert answer.headers["X-RateLimit-Remaining"] == str(left)
        async with client.get("/health") as answer:
            assert "X-RateLimit-Limit" not in answer.headers


async def test_who_asks_too_often_is_refused(seed: Seed, begin: Begin) -> None:
    async with begin() as tx:
        await tx.execute(keypairs.update().where(keypairs.c.user_id == seed.user.user_id).values(rate_limit=3))
    async with serving_api(begin) as client:
        answers = [await ask(client, Signed(), seed) for _ in range(4)]
        assert [status for status, _ in answers] == [200, 200, 200, 429]
        assert answers[3][1]["type"].endswith("/rate-limit-exceeded")
        boss = Caller(client, seed.admin.access_key, seed.admin_secret)
        assert (await boss.call("GET", "/auth?echo=x"))[0] == 200


async def test_strangers_are_counted_by_their_address(begin: Begin) -> None:
    async with serving_api(begin) as client:
        for _ in range(1000):
            async with client.get("/") as answer:
                assert answer.status == 200
        async with client.get("/") as answer:
            assert answer.status == 429
        async with client.get("/auth?echo=x") as answer:
            assert answer.status == 429
        async with client.get("/health") as answer:
            assert answer.status == 200
