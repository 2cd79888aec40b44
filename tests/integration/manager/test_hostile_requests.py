"""What a hostile client sends gets an answer that says what is wrong, never a crash."""

from collections.abc import AsyncGenerator

import orjson
import pytest
from tests.integration.manager.api import Caller, Http, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin

NESTED = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator[Http, None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def user_caller(client: Http, seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


def _authorization(key: str) -> str:
    return f"BackendAI signMethod=HMAC-SHA256, credential={key}:0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-BackendAI-Token": "eyJhbGciOiJIUzI1NiJ9.eyJhY2Nlc3Nfa2V5IjoiYVx1MDAwMCJ9.AAAA"},
        {"Date": "Mon, 01 Jan 2026 00:00:00 +99999999999999999999", "Authorization": _authorization("A")},
    ],
    ids=["token-with-nul", "date-beyond-all"],
)
async def test_headers_that_nobody_signs_are_refused(client: Http, headers: dict[str, str]) -> None:
    async with client.get("/auth", headers=headers | {"X-BackendAI-Version": "v8.20240915"}) as answer:
        assert answer.status in {400, 401}
        assert "X-RateLimit-Remaining" in answer.headers


async def test_a_body_that_nests_without_end_is_refused(client: Http) -> None:
    async with client.post("/auth/authorize", data=NESTED, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/session/%00", None),
        ("GET", "/events/session?sessionName=a&sessionName=b", None),
        ("GET", "/events/session", {"group": {}}),
        ("POST", "/session", {"name": "soon", "image": "x", "starts_at": "0001-01-01T00:00:00+12:00"}),
    ],
)
async def test_parameters_that_nothing_can_be_are_refused(
    user_caller: Caller, method: str, path: str, body: dict[str, object] | None
) -> None:
    status, _ = await user_caller.call(method, path, body)

    assert 400 <= status < 500


@pytest.mark.parametrize(
    "filter",
    ['name == "\0"', "is_active > true", 'created_at > "0001-01-01T00:00:00+12:00"'],
)
async def test_filters_that_no_database_takes_are_refused(user_caller: Caller, filter: str) -> None:  # noqa: A002
    written = orjson.dumps(filter).decode()
    listed = "keypair_list" if "active" in filter else "compute_session_list"
    document = f"{{ {listed}(limit: 1, offset: 0, filter: {written}) {{ total_count }} }}"

    _, answer = await user_caller.call("POST", "/admin/gql", {"query": document})

    assert answer["errors"]
    assert "internal" not in orjson.dumps(answer).decode().lower()
