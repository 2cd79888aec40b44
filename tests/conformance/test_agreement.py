"""The recorded run of the official client, sent again: the answers agree with the real manager's, or it is said why."""

import pytest
from tests.conformance.agreement import Justified, differences, same_things
from tests.conformance.records import Answer, Caller, Exchange, Request, read_wire, rewritten

from caravan_deploy.layout import REPOSITORY
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

DATA = REPOSITORY / "tests" / "data" / "api-25.5.2"
JUSTIFIED = Justified.read(DATA / "cli-wire.toml")
WIRE = [exchange for exchange in read_wire(DATA / "cli-wire.jsonl") if not JUSTIFIED.is_not_yet(exchange.name)]
AGENTS = Request(
    "POST",
    "/admin/gql",
    {"Content-Type": "application/json", "X-BackendAI-Version": "v8.20240915"},
    b'{"query": "{ agents { id } }"}',
)


@pytest.fixture(scope="module")
def answers(stack: Stack, image: str) -> dict[str, Answer]:
    """The stack's answers to the recorded requests, in their order, with the names and IDs of this stack."""
    caller = Caller(stack.endpoint, stack.admin.access_key, stack.admin.secret_key)
    words = {
        "cr.backend.ai/stable/python:3.9-ubuntu20.04": image,
        "AKIAIOSFODNN7EXAMPLE": stack.admin.access_key,
        "i-oracle-dummy-01": caller.send(AGENTS).body["data"]["agents"][0]["id"],
    }
    given: dict[str, Answer] = {}
    for exchange in WIRE:
        given[exchange.name] = caller.send(rewritten(exchange.request, words))
        words |= same_things(exchange.answer.body, given[exchange.name].body)
    return given


@pytest.mark.parametrize("exchange", WIRE, ids=[exchange.name for exchange in WIRE])
def test_the_answer_agrees_with_the_real_manager(exchange: Exchange, answers: dict[str, Answer]) -> None:
    ours = answers[exchange.name]
    found = differences(exchange.answer, ours)
    assert JUSTIFIED.unjustified(exchange.name, found) == [], f"ours: {ours}"
