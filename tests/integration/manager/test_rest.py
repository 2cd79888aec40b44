"""The REST doors, over HTTP: who may come in, and what errors look like."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin


@pytest.fixture
async def client(begin: Begin) -> AsyncGenerator["TestClient[Any, Any]", None]:
    async with serving_api(begin) as client:
        yield client


@pytest.fixture
def me(client: "TestClient[Any, Any]", seed: Seed) -> Caller:
    return Caller(client, seed.user.access_key, seed.user_secret)


async def test_a_signed_request_comes_in(me: Caller) -> None:
    assert await me.call("GET", "/auth?echo=hello") == (200, {"authorized": "yes", "echo": "hello"})
    assert await me.call("POST", "/auth", {"echo": "hello"}) == (200, {"authorized": "yes", "echo": "hello"})


@pytest.mark.parametrize(
    ("changes", "status", "slug", "message"),
    [
        ({"Date": "2020-01-01T00:00:00+00:00"}, 400, "invalid-auth-params", "Date/time sync error"),
        ({"Date": "yesterday"}, 400, "invalid-auth-params", "Date/time sync error"),
        ({"Authorization": "Basic eHg6eHg="}, 400, "invalid-auth-params", "Invalid authorization type name"),
        ({"X-BackendAI-Version": "v2.20170315"}, 400, "generic-bad-request", "Unsupported API version."),
    ],
)
async def test_malformed_credentials_are_named(
    me: Caller, changes: dict[str, str], status: int, slug: str, message: str
) -> None:
    answered, problem = await me.call("GET", "/auth?echo=x", **changes)
    assert (answered, problem["msg"]) == (status, message)
    assert problem["type"] == f"https://api.backend.ai/probs/{slug}"


async def test_an_unknown_key_is_refused(client: "TestClient[Any, Any]", seed: Seed) -> None:
    nobody = Caller(client, "AKIANOBODYNOBODYNOBO", seed.user_secret)
    status, problem = await nobody.call("GET", "/auth?echo=x")
    assert (status, problem["msg"]) == (401, "Access key not found")


async def test_unknown_paths_and_methods_are_problems_too(client: "TestClient[Any, Any]") -> None:
    async with client.get("/no/such/route") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
        assert (await answer.json(content_type=None))["data"] == "/no/such/route"
    async with client.put("/auth") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD,OPTIONS,POST"


async def test_a_malformed_body_and_missing_parameters_are_named(me: Caller) -> None:
    assert (await me.call("GET", "/auth"))[1]["data"] == {"echo": "is required"}
    status, problem = await me.call("POST", "/session", ["no", "object"])
    assert (status, problem["msg"]) == (400, "Malformed body")
    status, problem = await me.call("POST", "/session", {})
    assert (status, problem["data"]) == (400, {"session_name": "is required", "image": "is required"})


async def test_a_session_is_made_described_and_cancelled(me: Caller, seed: Seed) -> None:
    body = {
        "name": "train",
        "image": seed.image_reference,
        "type": "batch",
        "startupCommand": "true",
        "group": "default",
        "domain": "default",
        "enqueueOnly": True,
        "config": {
            "resources": {"cpu": "1", "mem": "256m"},
            "mounts": None,
            "environ": {"A": "b"},
            "scalingGroup": None,
        },
    }
    status, made = await me.call("POST", "/session", body)
    assert (status, made["status"], made["created"], made["servicePorts"]) == (201, "PENDING", True, [])
    status, info = await me.call("GET", f"/session/{made['sessionId']}")
    assert info["requestedSlots"] == "{'cpu': Decimal('1'), 'mem': Decimal('268435456')}"
    assert (info["status"], info["image"], info["containerId"]) == ("PENDING", seed.image_reference, "")
    status, matches = await me.call("GET", "/session/_/match?id=tra")
    assert matches == {"matches": [{"id": made["sessionId"], "name": "train", "status": "PENDING"}]}
    assert await me.call("DELETE", "/session/train") == (200, {"stats": {"status": "cancelled"}})
    status, problem = await me.call("DELETE", "/session/train")
    assert (status, problem["title"]) == (404, "No such session.")


async def test_a_waiting_create_answers_timeout_after_its_limit(me: Caller, seed: Seed) -> None:
    body = {"name": "slow", "image": seed.image_reference, "maxWaitSeconds": 0.2, "config": {}}
    status, made = await me.call("POST", "/session", body)
    assert (status, made["status"]) == (201, "TIMEOUT")


PAGE = {"Origin": "http://example.com"}
ASKS = PAGE | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, date"}


async def test_any_page_may_call_the_api(client: "TestClient[Any, Any]") -> None:
    async with client.options("/auth", headers=ASKS) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "http://example.com"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "CONTENT-TYPE, DATE"
        assert await answer.read() == b""


async def test_a_page_is_told_of_methods_and_paths_that_are_not_there(client: "TestClient[Any, Any]") -> None:
    async with client.options("/auth", headers=ASKS | {"Access-Control-Request-Method": "PUT"}) as answer:
        assert (answer.status, answer.content_type) == (403, "application/problem+json")
        assert "Access-Control-Allow-Methods" not in answer.headers
    async with client.options("/no/such/route", headers=ASKS) as answer:
        assert answer.status == 404
    async with client.options("/auth", headers=PAGE) as answer:
        assert answer.status == 405


async def test_a_page_may_read_answers_errors_and_their_headers(client: "TestClient[Any, Any]") -> None:
    for path, status in (("/", 200), ("/auth", 400), ("/no/such/route", 404)):
        async with client.get(path, headers=PAGE) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == "http://example.com"
            exposed = answer.headers["Access-Control-Expose-Headers"].split(",")
            assert {"Server", "Content-Length", "X-RateLimit-Remaining"} <= set(exposed)
            assert answer.headers["Vary"] == "Origin"
    async with client.get("/") as answer:
        assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_ports_are_opened_as_numbers_or_text_and_others_refused(me: Caller, seed: Seed) -> None:
    body = {"name": "ports", "image": seed.image_reference, "enqueueOnly": True}
    status, _ = await me.call("POST", "/session", body | {"config": {"preopen_ports": ["9000", 9001]}})
    assert status == 201
    fields = "items { service_ports containers { preopen_ports } }"
    query = {"query": f"{{ compute_session_list(limit: 1, offset: 0) {{ {fields} }} }}"}
    _, answer = await me.call("POST", "/admin/gql", query)
    (session,) = answer["data"]["compute_session_list"]["items"]
    assert [port["name"] for port in json.loads(session["service_ports"])] == ["9000", "9001"]
    assert session["containers"] == [{"preopen_ports": [9000, 9001]}]
    for wrong in (["80"], [70000], ["x"], [2200]):
        status, problem = await me.call("POST", "/session", body | {"name": "more", "config": {"preopenPorts": wrong}})
        assert (status, problem["type"].rpartition("/")[2]) == (400, "invalid-api-params"), wrong


async def test_the_log_of_a_task_that_nobody_knows_is_not_found(me: Caller) -> None:
    for path in ("/session/_/logs?taskId=c0ffee00-0000-4000-8000-000000000001", "/session/_/logs?session_name=nobody"):
        status, problem = await me.call("GET", path)
        assert (status, problem["type"].rpartition("/")[2]) == (404, "object-not-found")
    assert (await me.call("GET", "/session/_/logs"))[0] == 400
