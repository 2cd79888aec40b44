"""The recorded exchanges with the real manager, sent again to the API: status, problem type and keys agree.

What differs on purpose, and what is not answered yet, stands with its reason in `pairs.toml` beside the records.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conformance.agreement import Justified, differences
from tests.conformance.records import Answer, Caller, Exchange, read_pairs, rewritten
from tests.integration.manager.api import Http, serving_api
from tests.integration.manager.conftest import Seed

from caravan_manager.db.engine import Begin
from caravan_manager.people.passwords import hash_password
from caravan_manager.people.repository import set_password_hash
from caravan_manager.vfolders.service import VFoldersService

RECORDS = Path(__file__).parents[2] / "data" / "api-25.5.2"
PASSWORD = "correct horse"
_USERS = ("25-gql-as-user-forbidden", "84-user-forbidden-superadmin")
"""The exchanges that an ordinary user signed; all others are the superadmin's."""
_SPOILED = {
    "73-bad-signature": {"secret_key": "wrong"},
    "74-unknown-access-key": {"access_key": "AKIAXXXXXXXXXXXXXXXX"},
}
_HEADERS = {
    "75-malformed-authz": {"Authorization": "Basic abcd", "Date": "now"},
    "76-stale-date": {"Date": "2020-01-01T00:00:00+00:00", "Authorization": "BackendAI credential=AK:0"},
    "77-no-date": {"Authorization": "BackendAI credential=AK:0"},
    "78-no-api-version": {
        "Date": "now",
        "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential=AK:{'0' * 64}",
    },
}
"""What is sent in place of a signature, where the record is of a spoiled one."""


@dataclass(frozen=True)
class Again:
    """Sends recorded requests again, in the words of the test's world."""

    admin: Caller
    user: Caller
    words: dict[str, str]

    async def send(self, exchange: Exchange) -> Answer:
        """Return our answer to a recorded request."""
        request = rewritten(exchange.request, self.words)
        caller = self.user if exchange.name in _USERS else self.admin
        caller = replace(caller, **_SPOILED.get(exchange.name, {}))
        own = _HEADERS.get(exchange.name)
        if own is not None:
            now = datetime.now(UTC).isoformat()
            sent = {name: now if value == "now" else value for name, value in own.items()}
            request = replace(request, signed=False, headers=request.headers | sent)
        return await asyncio.to_thread(caller.send, request)


@pytest.fixture
async def again(begin: Begin, seed: Seed, vfolders: VFoldersService) -> AsyncGenerator[Again, None]:
    hashed = await hash_password(PASSWORD)
    async with begin() as tx:
        await set_password_hash(tx, seed.admin.user_id, hashed)
    async with serving_api(begin, vfolders) as client:
        endpoint = _endpoint(client)
        words = {
            "cr.backend.ai/stable/python:3.9-ubuntu20.04": seed.image_reference,
            "admin@lablup.com": seed.admin.email,
            "wJalrXUt": PASSWORD,
            "2de2b969-1d04-48a6-af16-0bc8adb3c831": str(seed.project),
        }
        yield Again(
            Caller(endpoint, seed.admin.access_key, seed.admin_secret),
            Caller(endpoint, seed.user.access_key, seed.user_secret),
            words,
        )


def _endpoint(client: Http) -> str:
    return str(client.make_url("/")).rstrip("/")


async def _prepare(again: Again, exchanges: dict[str, Exchange]) -> None:
    """Make the folder that the records speak of and do not make, and a session, so that lists are not empty."""
    for name, made, wanted in (
        ("47-folder-create", b"pairvf1795252729", b"testvf"),
        ("50-session-create", b"pair01", b"other01"),
    ):
        new = exchanges[name]
        named = replace(new.request, body=new.request.body.replace(made, wanted))
        assert (await again.send(replace(new, request=named))).status == 201


async def test_answers_agree_with_the_recorded_ones(again: Again) -> None:
    exchanges = {exchange.name: exchange for exchange in read_pairs(RECORDS / "pairs")}
    justified = Justified.read(RECORDS / "pairs.toml")
    await _prepare(again, exchanges)
    wrong: list[str] = []
    for name, exchange in exchanges.items():
        ours = await again.send(exchange)
        found = differences(exchange.answer, ours)
        if justified.is_not_yet(name):
            wrong += [] if found else [f"{name}: is answered, and stands as not answered yet"]
        else:
            wrong += [f"{name}: {line}" for line in justified.unjustified(name, found)]
    assert not wrong, "\n" + "\n".join(wrong)


_ANOTHER_TEXT = {"56-session-create-bad-image": {"msg"}, "52-session-logs": {"type", "title", "msg"}}
"""The recorded text is that of a class of the real manager; the world is another (`pairs.toml`)."""


async def test_problem_documents_say_what_the_recorded_ones_say(again: Again) -> None:
    justified = Justified.read(RECORDS / "pairs.toml")
    refused = [e for e in read_pairs(RECORDS / "pairs") if e.answer.status >= 400 and not justified.is_not_yet(e.name)]
    assert len(refused) >= 20
    for exchange in refused:
        ours = (await again.send(exchange)).body
        for key in {"type", "title", "msg"} - _ANOTHER_TEXT.get(exchange.name, set()):
            assert ours.get(key) == exchange.answer.body.get(key), (exchange.name, key, ours)
