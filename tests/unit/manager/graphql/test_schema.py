"""The schema agrees with the one recorded from Backend.AI 25.5.2, and every field has an answer of its own."""

import re
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    build_schema,
    default_field_resolver,
    parse,
    validate,
)

from caravan_manager.api.graphql import images, nodes, people, quotas, sessions, vfolders
from caravan_manager.api.graphql.documents import RULES
from caravan_manager.api.graphql.schema import make_schema

RECORDS = Path(__file__).parents[3] / "data" / "api-25.5.2"
RECORDED = build_schema((RECORDS / "schema.graphql").read_text())
OURS = make_schema()
OWN_TYPES, OWN_ROOTS = {"SessionExplanation"}, {"session_explanation"}
"""What Backend.AI does not have."""
TYPES = sorted(name for name in OURS.type_map if not name.startswith("__") and name not in OWN_TYPES)
ROOTS = [
    *["keypair", "keypairs", "keypair_list", "user", "users", "user_list", "user_from_uuid"],
    *["domain", "domains", "group", "groups", "groups_by_name"],
    *["compute_session", "compute_session_list", "image", "images"],
    *["vfolder_list", "vfolder_own_list", "vfolder_invited_list", "vfolder_project_list"],
    *["agent", "agent_list", "agents", "scaling_group", "scaling_groups", "storage_volume", "storage_volume_list"],
    *["accessible_scaling_groups", "scaling_groups_for_domain"],
    *["scaling_groups_for_user_group", "scaling_groups_for_keypair"],
    *["user_resource_policy", "user_resource_policies", "project_resource_policy", "project_resource_policies"],
    *["keypair_resource_policy", "keypair_resource_policies", "resource_preset", "resource_presets"],
]
UNRECORDED_ARGUMENTS = {("images", "is_operation")}
"""Deprecated arguments, which introspection leaves out; the recorded client sends them and gets an answer."""


def signature(name: str, field: GraphQLField) -> tuple[str, dict[str, tuple[str, object]], bool]:
    arguments = {
        argument: (str(shape.type), shape.default_value)
        for argument, shape in field.args.items()
        if (name, argument) not in UNRECORDED_ARGUMENTS
    }
    return str(field.type), arguments, field.deprecation_reason is not None


CONNECTIONS = {"vfolder_nodes", "kernel_nodes", "dependents", "dependees", "graph"}
"""Fields of ComputeSessionNode that nothing answers yet; whoever asks for them is told so."""


@pytest.mark.parametrize("name", [name for name in TYPES if name not in {"Queries", "Mutations"}])
def test_a_type_is_the_recorded_one_field_by_field(name: str) -> None:
    ours, recorded = OURS.type_map[name], RECORDED.type_map[name]
    assert type(ours) is type(recorded)
    if isinstance(ours, GraphQLEnumType) and isinstance(recorded, GraphQLEnumType):
        assert list(ours.values) == list(recorded.values)
    if isinstance(ours, GraphQLObjectType | GraphQLInterfaceType):
        assert isinstance(recorded, GraphQLObjectType | GraphQLInterfaceType)
        assert [i.name for i in ours.interfaces] == [i.name for i in recorded.interfaces]
        later = CONNECTIONS if name == "ComputeSessionNode" else set()
        assert {n: signature(n, f) for n, f in ours.fields.items()} == {
            n: signature(n, f) for n, f in recorded.fields.items() if n not in later
        }


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_is_the_recorded_one(root: str) -> None:
    assert OURS.query_type is not None
    assert RECORDED.query_type is not None
    assert signature(root, OURS.query_type.fields[root]) == signature(root, RECORDED.query_type.fields[root])


def test_the_roots_are_those_of_this_list() -> None:
    assert OURS.query_type is not None
    assert OURS.query_type.name == "Queries"
    assert sorted(OURS.query_type.fields) == sorted([*ROOTS, *OWN_ROOTS])


def test_the_mutations_are_recorded_ones() -> None:
    assert OURS.mutation_type is not None
    assert RECORDED.mutation_type is not None
    assert OURS.mutation_type.name == RECORDED.mutation_type.name
    for name, field in OURS.mutation_type.fields.items():
        assert signature(name, field) == signature(name, RECORDED.mutation_type.fields[name])


def test_every_field_has_a_resolver_of_its_own() -> None:
    lists = {"KeyPairList", "UserList", "ComputeSessionList", "VirtualFolderList", "StorageVolumeList", "AgentList"}
    missing = [
        f"{name}.{field}"
        for name, shape in OURS.type_map.items()
        if isinstance(shape, GraphQLObjectType) and name not in lists and not name.startswith("__")
        for field, how in shape.fields.items()
        if how.resolve in {None, default_field_resolver}
    ]
    assert missing == []


def test_no_resolver_is_for_a_field_that_does_not_exist() -> None:
    tables = {
        "KeyPair": people.KEYPAIR,
        "UserInfo": people.USER_INFO,
        "User": people.USER,
        "UserGroup": people.USER_GROUP,
        "Domain": people.DOMAIN,
        "Group": people.GROUP,
        "ComputeSession": sessions.SESSION,
        "ComputeContainer": sessions.KERNEL,
        "ComputeSessionNode": sessions.NODE,
        "VirtualFolder": vfolders.FOLDER,
        "Image": images.IMAGE,
        "ImageNode": images.IMAGE_NODE,
        "KVPair": images.PAIR,
        "ResourceLimit": images.LIMIT,
        "Agent": nodes.AGENT,
        "ScalingGroup": nodes.SCALING_GROUP,
        "StorageVolume": vfolders.VOLUME,
        "KeyPairResourcePolicy": quotas.POLICY,
        "UserResourcePolicy": quotas.USER_POLICY,
        "ProjectResourcePolicy": quotas.PROJECT_POLICY,
        "ResourcePreset": quotas.PRESET,
    }
    for name, table in tables.items():
        shape = OURS.type_map[name]
        assert isinstance(shape, GraphQLObjectType)
        assert set(table) <= set(shape.fields)


def recorded_documents() -> dict[str, str]:
    """The documents of our roots, by the command that sent them and their number."""
    documents: dict[str, str] = {}
    command = ""
    for line in (RECORDS / "cli-graphql.txt").read_text().splitlines():
        if line.startswith("["):
            command = line
        elif re.search(r"\{ *(\w+)", line) and line.strip().startswith("query"):
            root = re.search(r"^\s*query(?:\s*\([^{]*\))?\s*\{\s*(\w+)", line)
            if root is not None and root[1] in ROOTS:
                documents[f"{len(documents)} {command}"] = line.strip()
    return documents


DOCUMENTS = recorded_documents()


def test_the_record_holds_documents_of_our_roots() -> None:
    assert len(DOCUMENTS) == 28


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_document_of_the_official_client_is_valid(document: str) -> None:
    assert validate(OURS, parse(document), RULES) == []
