"""The comparison with recorded answers sees what it must see, and no more."""

from pathlib import Path

import pytest
from tests.conformance.agreement import Entry, Justified, differences, same_things
from tests.conformance.guide import GUIDE, page
from tests.conformance.records import Answer, Request, read_pairs, read_wire, rewritten

from caravan_deploy.layout import REPOSITORY

DATA = REPOSITORY / "tests" / "data" / "api-25.5.2"
PROBLEM = {"type": "https://api.backend.ai/probs/object-not-found", "title": "No such session."}
PAIR = """>>> POST /admin/gql
> Host: 127.0.0.1:18081
> Content-Type: application/json
> Authorization: BackendAI signMethod=HMAC-SHA256, credential=A:b
>
{"query": "{ a }"}

<<< 200 OK
< Content-Type: application/json; charset=utf-8
<
{
 "data": null
}

# raw body: b'{"data": null}'"""


@pytest.mark.parametrize(
    ("recorded", "ours", "found"),
    [
        (Answer(200, {"a": 1}), Answer(200, {"a": "x"}), []),
        (Answer(200, {"a": 1}), Answer(201, {"a": 1}), ["status 200 recorded, 201 ours"]),
        (Answer(200, {"a": 1}), Answer(200, {"b": 1}), ["body: without a", "body: with b"]),
        (Answer(200, {"a": {"b": 1}}), Answer(200, {"a": {"c": 1}}), ["body.a: without b", "body.a: with c"]),
        (Answer(200, [{"a": 1}]), Answer(200, [{"b": 1}]), ["body[]: without a", "body[]: with b"]),
        (Answer(200, {"a": [1]}), Answer(200, {"a": {"b": 1}}), ["body.a: list recorded, object ours"]),
        (Answer(200, {"a": None, "b": [], "c": {}}), Answer(200, {"a": {"x": 1}, "b": [{"x": 1}], "c": {"x": 1}}), []),
        (Answer(404, PROBLEM), Answer(404, PROBLEM | {"title": "No."}), []),
        (
            Answer(404, PROBLEM),
            Answer(404, PROBLEM | {"type": "other"}),
            [f"type {PROBLEM['type']} recorded, other ours"],
        ),
        (Answer(204), Answer(204), []),
    ],
)
def test_status_problem_type_and_keys_are_compared(recorded: Answer, ours: Answer, found: list[str]) -> None:
    assert differences(recorded, ours) == found


def test_ids_in_the_same_places_are_the_same_things() -> None:
    session, folder = "f6954f3b-48a6-4895-a06e-eebab25113f5", "c558ec71fb0148e8a61611671e8ce174"
    ours = {"id": session.replace("f", "0"), "items": [{"id": folder.replace("c", "1")}], "name": "b"}
    learned = same_things({"id": session, "items": [{"id": folder}], "name": "a"}, ours)
    assert learned == {session: ours["id"], folder: folder.replace("c", "1")}
    request = rewritten(Request("DELETE", f"/folders/{folder}", {}, session.encode()), learned)
    assert (request.path, request.body.decode()) == (f"/folders/{folder.replace('c', '1')}", ours["id"])


def test_a_difference_without_a_reason_is_reported_and_so_is_a_reason_without_a_difference() -> None:
    justified = Justified((Entry(("0* folder",), "because", ("body: with x", "body: without y")),), ())
    assert justified.unjustified("01 folder", ["body: with x", "body: without y"]) == []
    assert justified.unjustified("01 folder", ["body: with x", "body: with z"]) == [
        "body: with z",
        "justified, but agrees: body: without y",
    ]
    assert justified.unjustified("11 other", ["body: with x"]) == ["body: with x"]


def test_pairs_are_read(tmp_path: Path) -> None:
    (tmp_path / "20-one.txt").write_text(PAIR)
    [exchange] = read_pairs(tmp_path)
    assert exchange.name == "20-one"
    assert exchange.request == Request(
        "POST", "/admin/gql", {"Content-Type": "application/json"}, b'{"query": "{ a }"}', signed=True
    )
    assert (exchange.answer.status, exchange.answer.body) == (200, {"data": None})


def test_the_recorded_run_of_the_client_is_read() -> None:
    exchanges = read_wire(DATA / "cli-wire.jsonl")
    assert len(exchanges) == 176
    assert exchanges[0].name == "001 config"
    assert (exchanges[0].request.signed, exchanges[1].request.signed) == (False, True)
    assert "Authorization" not in exchanges[1].request.headers


def test_the_guide_shows_every_difference_and_its_reason() -> None:
    assert GUIDE.read_text(encoding="utf-8") == page(), "run .venv/bin/python -m tests.conformance.guide"


@pytest.mark.parametrize("file", sorted(DATA.glob("*.toml")), ids=lambda file: file.stem)
def test_every_entry_names_an_exchange(file: Path) -> None:
    justified, shown = Justified.read(file), page()
    for entry in (*justified.differences, *justified.not_yet):
        assert entry.reason in shown
        assert f"|  | {entry.reason}" not in shown, entry
