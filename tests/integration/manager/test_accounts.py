"""Log-in and one's own account over HTTP; failed log-ins are throttled by a real Redis."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy import select
from structlog.testing import capture_logs
from tests.integration.manager.api import Caller, Http, redis_at, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.redis_server import RedisServer

from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, keypairs, users
from caravan_manager.people import throttle
from caravan_manager.people.passwords import hash_password
from caravan_manager.people.repository import set_password_hash

PASSWORD = "correct horse"


@pytest.fixture
async def account(seed: Seed, begin: Begin) -> Seed:
    """The user has a password."""
    hashed = await hash_password(PASSWORD)
    async with begin() as tx:
        await set_password_hash(tx, seed.user.user_id, hashed)
    return seed


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator[Http, None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: Http, account: Seed) -> Caller:
    return Caller(client, account.user.access_key, account.user_secret)


async def log_in(client: Http, seed: Seed, **changes: str) -> tuple[int, Any]:
    body = {"type": "keypair", "domain": "default", "username": seed.user.email, "password": PASSWORD} | changes
    async with client.post("/auth/authorize", json=body) as answer:
        return answer.status, orjson.loads(await answer.read())


async def test_a_password_gives_the_keypair_in_the_reported_versions_form(account: Seed, begin: Begin) -> None:
    async with serving_api(begin) as client:
        status, answer = await log_in(client, account)
        assert (status, answer["data"]) == (
            200,
            {
                "access_key": account.user.access_key,
                "secret_key": account.user_secret,
                "role": "user",
                "status": "active",
            },
        )
        assert (await log_in(client, account, username=account.user.username))[0] == 200
    async with serving_api(begin, version="26.9.6") as client:
        data = (await log_in(client, account))[1]["data"]
        assert data["session_token"]
        assert (data["response_type"], data["type"], data["user_id"]) == (
            "success",
            "keypair",
            str(account.user.user_id),
        )


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody@example.com"}, {"domain": "elsewhere"}])
async def test_a_wrong_log_in_says_not_what_is_wrong(client: Http, account: Seed, wrong: dict[str, str]) -> None:
    status, problem = await log_in(client, account, **wrong)
    assert (status, problem["type"].rpartition("/")[2]) == (401, "auth-failed")
    assert problem["msg"] == "User credential mismatch."


async def test_another_type_of_log_in_is_refused(client: Http, account: Seed) -> None:
    status, problem = await log_in(client, account, type="jwt")
    assert (status, problem["msg"]) == (400, "Unsupported authorization type")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("inactive", "User credential mismatch."),
        ("deleted", "User credential mismatch."),
        ("before-verification", "This account needs email verification."),
    ],
)
async def test_who_is_not_active_cannot_log_in(
    client: Http, account: Seed, begin: Begin, status: str, told: str
) -> None:
    async with begin() as tx:
        await tx.execute(users.update().where(users.c.id == account.user.user_id).values(status=status))
    answered, problem = await log_in(client, account)
    assert (answered, problem["msg"]) == (401, told)


async def test_a_password_can_be_changed(client: Http, me: Caller, account: Seed, begin: Begin) -> None:
    body = {"old_password": PASSWORD, "new_password": "battery staple", "new_password2": "battery staple"}
    assert await me.call("POST", "/auth/update-password", body) == (200, {})
    assert (await log_in(client, account))[0] == 401
    assert (await log_in(client, account, password="battery staple"))[0] == 200
    async with begin() as tx:
        actions = (await tx.execute(select(audit_log.c.action))).scalars().all()
    assert actions == ["user.change_password"]


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"old_password": "wrong"}, 401, "Old password mismatch"),
        ({"new_password2": "other"}, 400, "new password mismatch"),
        ({"new_password": "", "new_password2": ""}, 400, "Input validation error"),
    ],
)
async def test_a_password_is_not_changed_by_mistake(
    client: Http, me: Caller, account: Seed, changes: dict[str, str], status: int, told: str
) -> None:
    body = {"old_password": PASSWORD, "new_password": "new", "new_password2": "new"} | changes
    answered, problem = await me.call("POST", "/auth/update-password", body)
    assert (answered, problem["msg"]) == (status, told)
    assert (await log_in(client, account))[0] == 200


RENEWAL = {"domain": "default", "current_password": PASSWORD, "new_password": "battery staple"}


async def test_an_expired_password_must_be_renewed(account: Seed, begin: Begin) -> None:
    renewal = RENEWAL | {"username": account.user.email}
    async with begin() as tx:
        old = users.update().where(users.c.id == account.user.user_id)
        await tx.execute(old.values(password_changed_at=users.c.password_changed_at - timedelta(days=91)))
    async with serving_api(begin, max_password_age=timedelta(days=90)) as client:
        status, problem = await log_in(client, account)
        assert (status, problem["type"].rpartition("/")[2]) == (401, "password-expired")
        for wrong in ({"current_password": "wrong"}, {"new_password": PASSWORD}):
            async with client.post("/auth/update-password-no-auth", json=renewal | wrong) as answer:
                assert answer.status == 401
        async with client.post("/auth/update-password-no-auth", json=renewal) as answer:
            assert answer.status == 201
            assert "password_changed_at" in await answer.json()
        assert (await log_in(client, account, password="battery staple"))[0] == 200


async def test_passwords_that_never_expire_are_not_renewed(client: Http, account: Seed) -> None:
    renewal = RENEWAL | {"username": account.user.email}
    async with client.post("/auth/update-password-no-auth", json=renewal) as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["msg"] == "Unsupported function."


async def test_an_account_can_be_ended_by_its_owner(client: Http, me: Caller, account: Seed, begin: Begin) -> None:
    for body, status in (
        ({"email": account.admin.email, "password": PASSWORD}, 403),
        ({"email": account.user.email, "password": "wrong"}, 400),
        ({"username": account.user.email, "password": PASSWORD}, 200),
    ):
        assert (await me.call("POST", "/auth/signout", body))[0] == status
    assert (await me.call("GET", "/auth?echo=x"))[0] == 401
    assert (await log_in(client, account))[0] == 401
    async with begin() as tx:
        mine = select(keypairs.c.is_active).where(keypairs.c.user_id == account.user.user_id)
        assert (await tx.execute(mine)).scalars().all() == [False]


async def test_ones_name_and_role(me: Caller, seed: Seed, begin: Begin) -> None:
    assert await me.call("POST", "/auth/update-full-name", {"email": "x", "full_name": "Ada"}) == (200, {})
    async with begin() as tx:
        assert await tx.scalar(select(users.c.full_name).where(users.c.id == seed.user.user_id)) == "Ada"
    nobody = {"global_role": "user", "domain_role": "user", "group_role": None}
    assert await me.call("GET", "/auth/role") == (200, nobody)
    assert (await me.call("GET", f"/auth/role?group={seed.project}"))[1]["group_role"] == "user"
    status, problem = await me.call("GET", f"/auth/role?group={seed.user.user_id}")
    assert (status, problem["type"].rpartition("/")[2]) == (404, "object-not-found")
    assert await me.call("POST", "/auth/logout", {"session_token": "x"}) == (200, {})


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncGenerator[Redis, None]:
    client = redis_at(redis_server.port)
    yield client
    await client.aclose()


async def test_a_user_who_fails_often_must_wait(
    account: Seed, begin: Begin, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "FAILURES_OF_USER", 2)
    async with serving_api(begin, redis=redis) as client:
        assert (await log_in(client, account, password="wrong"))[0] == 401
        assert (await log_in(client, account))[0] == 200, "a success forgets the failures"
        for _ in range(2):
            assert (await log_in(client, account, password="wrong"))[0] == 401
        status, problem = await log_in(client, account)
        assert (status, problem["type"].rpartition("/")[2]) == (429, "rate-limit-exceeded")
        assert (await log_in(client, account, username="other@example.com"))[0] == 401
    assert 0 < await redis.ttl(f"{throttle.PREFIX}user:default:{account.user.email}") <= throttle.WINDOW_SECONDS


async def test_an_address_that_fails_often_must_wait(
    account: Seed, begin: Begin, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "FAILURES_OF_ADDRESS", 3)
    async with serving_api(begin, redis=redis, proxies=["127.0.0.1/32"]) as client:
        for number in range(3):
            assert (await log_in(client, account, username=f"u{number}@example.com"))[0] == 401
        assert (await log_in(client, account))[0] == 429
        elsewhere = {"X-Forwarded-For": "203.0.113.7"}
        body = {"type": "keypair", "domain": "default", "username": account.user.email, "password": PASSWORD}
        async with client.post("/auth/authorize", json=body, headers=elsewhere) as answer:
            assert answer.status == 200


async def test_without_redis_one_can_still_log_in(client: Http, account: Seed) -> None:
    with capture_logs() as said:
        assert (await log_in(client, account))[0] == 200
    assert {line["event"] for line in said} == {"login.not_throttled"}
