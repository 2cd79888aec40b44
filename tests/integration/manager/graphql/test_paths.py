"""The two paths: what they answer, and how they answer errors."""

import pytest
from tests.integration.manager.graphql.made import Answer, Door

from caravan_manager.people.model import Principal
from caravan_manager.people.service import PeopleService


async def test_an_answer_without_errors_has_only_data(door: Door, user: Principal) -> None:
    assert await door.ask(user, "{ domains { name } }") == {"data": {"domains": [{"name": "default"}]}}


async def test_a_syntax_error_is_an_answer(door: Door, user: Principal) -> None:
    message = "Syntax Error: Expected Name, found <EOF>."
    assert await door.ask(user, "{ keypairs { ") == {
        "data": None,
        "errors": [{"message": message, "locations": [{"line": 1, "column": 14}]}],
    }


async def test_an_unknown_field_is_an_answer(door: Door, user: Principal) -> None:
    message = "Cannot query field 'nope' on type 'KeyPair'."
    assert await door.ask(user, "{ keypairs { nope } }") == {
        "data": None,
        "errors": [{"message": message, "locations": [{"line": 1, "column": 14}]}],
    }


async def test_a_body_without_a_document_is_a_problem(door: Door, user: Principal) -> None:
    response = await door.post("/admin/gql", user, {})
    assert response.status == 400
    assert response.content_type == "application/problem+json"
    problem = await response.json()
    assert problem["type"] == "https://api.backend.ai/probs/invalid-api-params"
    assert (problem["msg"], problem["data"]) == ("Input validation error", {"query": "is required"})


@pytest.mark.parametrize("body", [{"query": 5}, {"query": "{ x }", "variables": "no object"}])
async def test_a_body_of_the_wrong_shape_is_a_problem(door: Door, user: Principal, body: Answer) -> None:
    assert (await door.post("/admin/gql", user, body)).status == 400


async def test_the_older_path_answers_nothing_but_the_data(door: Door, user: Principal) -> None:
    response = await door.post("/admin/graphql", user, {"query": "{ domains { name } }", "variables": {}})
    assert (response.status, await response.json()) == (200, {"domains": [{"name": "default"}]})


async def test_the_older_path_answers_errors_as_a_problem(door: Door, user: Principal) -> None:
    response = await door.post("/admin/graphql", user, {"query": "{ keypairs { nope } }"})
    problem = await response.json()
    assert response.status == 400
    assert problem["type"] == "https://api.backend.ai/probs/graphql-error"
    assert problem["data"] == ["Cannot query field 'nope' on type 'KeyPair'."]


async def test_one_of_several_operations_is_chosen_by_name(door: Door, user: Principal) -> None:
    query = "query a { domains { name } } query b { keypair { access_key } }"
    for spelling in ("operationName", "operation_name"):
        response = await door.post("/admin/gql", user, {"query": query, spelling: "b"})
        assert await response.json() == {"data": {"keypair": {"access_key": user.access_key}}}


async def test_a_variable_that_is_no_uuid_is_named(door: Door, user: Principal) -> None:
    error = await door.error(user, "query($id: UUID!) { compute_session(id: $id) { name } }", id="a name")
    assert "'a name' is not a UUID" in error["message"]


async def test_what_nobody_foresaw_is_masked(door: Door, user: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(PeopleService, "domains", broken)
    error = await door.error(user, "{ domains { name } }")
    assert error["message"] == "Internal server error"
    assert "hunter2" not in str(error)
