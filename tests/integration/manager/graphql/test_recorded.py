"""Every recorded document of the official clients is answered without an error, on a database that holds a bit of all."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.integration.manager.graphql.made import Door, add_folder, add_sessions, running

from caravan_manager.api.graphql.schema import make_schema
from caravan_manager.db.engine import Begin
from caravan_manager.people.model import Principal

RECORD = Path(__file__).parents[3] / "data" / "api-25.5.2" / "cli-graphql.txt"
_ROOT = re.compile(r"^\s*query(?:\s*\([^{]*\))?\s*\{\s*(\w+)")


def documents() -> list[str]:
    ours = make_schema().query_type
    assert ours is not None
    lines = [line.strip() for line in RECORD.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if (root := _ROOT.match(line)) and root[1] in ours.fields]


@pytest.mark.parametrize("document", documents())
async def test_a_document_of_the_official_client_is_answered(
    door: Door, admin: Principal, begin: Begin, seed: Any, document: str
) -> None:
    session = running(admin, seed.project, "sess1")
    await add_sessions(begin, session)
    await add_folder(begin, admin, "data")
    known = {
        "limit": 20,
        "offset": 0,
        "agent_id": "n1",
        "email": admin.email,
        "domain_name": "default",
        "gid": str(seed.project),
        "id": str(session.id),
        "name": "default",
        "is_operation": False,
    }
    declared = re.findall(r"\$(\w+)\s*:", document)
    data = await door.data(admin, document, **{name: known.get(name) for name in declared})
    [answer] = data.values()
    assert answer
    assert answer.get("total_count", 1) == len(answer.get("items", [0])) if isinstance(answer, dict) else True
