"""Every recorded document of the official clients is answered, on a database that holds a bit of everything."""

import re
from pathlib import Path
from typing import Any

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


async def test_every_document_of_the_official_clients_is_answered_without_an_error(
    door: Door, admin: Principal, begin: Begin, seed: Any
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
        "vfolder_host": "local:volume1",
    }
    asked = documents()
    assert len(asked) == 28
    for document in asked:
        declared = re.findall(r"\$(\w+)\s*:", document)
        answer = await door.ask(admin, document, **{name: known.get(name) for name in declared})
        assert "errors" not in answer, document
        [found] = answer["data"].values()
        assert found, document
