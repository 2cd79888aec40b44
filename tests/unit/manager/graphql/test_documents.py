"""What documents are refused before anything is executed, and what is remembered of the others."""

import pytest
from graphql import get_introspection_query

from caravan_manager.api.graphql import documents
from caravan_manager.api.graphql.documents import DocumentRefusedError, Documents
from caravan_manager.api.graphql.schema import make_schema

SCHEMA = make_schema()


@pytest.fixture
def read() -> Documents:
    return Documents(SCHEMA)


def why_refused(read: Documents, text: str) -> str:
    with pytest.raises(DocumentRefusedError) as refused:
        read.read(text)
    return refused.value.errors[0].message


def test_a_document_is_checked_once(read: Documents) -> None:
    assert read.read("{ keypair { access_key } }") is read.read("{ keypair { access_key } }")


def test_a_long_document_is_not_remembered(read: Documents) -> None:
    text = "{ keypair { access_key } }" + " " * documents.REMEMBERED_CHARACTERS
    assert read.read(text) is not read.read(text)


def test_only_the_latest_documents_are_remembered(read: Documents) -> None:
    first = read.read("{ keypair { access_key } }")
    for number in range(documents.REMEMBERED):
        read.read(f"query q{number} {{ keypair {{ access_key }} }}")
    assert read.read("{ keypair { access_key } }") is not first


def test_the_customary_introspection_query_is_answered(read: Documents) -> None:
    assert read.read(get_introspection_query())


def test_a_variable_of_a_looser_type_than_its_argument_is_accepted(read: Documents) -> None:
    assert read.read("query($id: String) { compute_session(id: $id) { name } }")


def test_a_syntax_error_says_where(read: Documents) -> None:
    with pytest.raises(DocumentRefusedError) as refused:
        read.read("{ keypairs { ")
    assert refused.value.errors[0].formatted == {
        "message": "Syntax Error: Expected Name, found <EOF>.",
        "locations": [{"line": 1, "column": 14}],
    }


def test_an_unknown_field_is_named(read: Documents) -> None:
    assert why_refused(read, "{ keypairs { nope } }") == "Cannot query field 'nope' on type 'KeyPair'."


def test_a_mutation_that_nobody_offers_is_refused(read: Documents) -> None:
    assert "delete_domain" in why_refused(read, 'mutation { delete_domain(name: "x") { ok } }').lower()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{ keypair { id } }" + "#" * documents.MAX_CHARACTERS, "longer than"),
        ("{" * 200, "brackets"),
        ("{ users(status: " + "[" * 5000, "brackets"),
        ("{ keypair { " + "id " * documents.MAX_TOKENS + "} }", "more than 2500 tokens"),
        ("{ keypair { " + "id " * (documents.MAX_FIELDS + 1) + "} }", "fields"),
        ("{ " + " ".join(f"k{n}: keypair {{ id }}" for n in range(30)) + " }", "root fields"),
        ("{ ...F } fragment F on Queries { " + " ".join(f"k{n}: keypair {{ id }}" for n in range(30)) + " }", "root"),
        ("{ keypair " + "{ compute_sessions " * 20 + "{ id } " + "} " * 20 + "}", "nests deeper"),
        ("{ ...A } fragment A on Queries { ...B } fragment B on Queries { ...A }", "within itself"),
    ],
)
def test_a_document_that_would_cost_too_much_is_refused(read: Documents, text: str, why: str) -> None:
    assert why in why_refused(read, text)


def test_fragments_that_multiply_are_counted_spelled_out(read: Documents) -> None:
    doubling = "".join(f"fragment F{n} on KeyPair {{ ...F{n + 1} ...F{n + 1} }} " for n in range(12))
    text = "{ keypair { ...F0 } } " + doubling + "fragment F12 on KeyPair { id }"
    assert "selects more than" in why_refused(read, text)
