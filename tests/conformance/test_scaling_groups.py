"""An administrator makes and changes scaling groups with the official client, and sessions go where they say."""

import json

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

pytestmark = pytest.mark.stack

GROUP = ["admin", "scaling-group"]
LITTLE = ["-r", "cpu=1", "-r", "mem=128m"]
OPTIONS = {"allowed_session_types": ["batch"], "pending_timeout": "1h", "preemption": {"enabled": True}}
AGENTS = "{ agents { id scaling_group schedulable } }"
CLOSE = """mutation($name: String!) {
    disassociate_scaling_group_with_domain(domain: "default", scaling_group: $name) { ok msg } }"""
OPEN = """mutation($name: String!, $project: UUID!) {
    associate_scaling_group_with_user_group(scaling_group: $name, user_group: $project) { ok msg } }"""
SHUT = """mutation($name: String!, $project: String!) {
    disassociate_scaling_group_with_user_group(scaling_group: $name, user_group: $project) { ok msg } }"""
CHANGE = "mutation($id: String!, $props: ModifyAgentInput!) { modify_agent(id: $id, props: $props) { ok msg } }"


def agent(user: User) -> dict[str, object]:
    (found,) = user.ask("POST", "/admin/gql", {"query": AGENTS, "variables": {}}).body["data"]["agents"]
    return dict(found)


def change(user: User, **props: object) -> None:
    variables = {"id": agent(user)["id"], "props": props}
    answer = user.ask("POST", "/admin/gql", {"query": CHANGE, "variables": variables}).body["data"]["modify_agent"]
    assert answer == {"ok": True, "msg": "success"}


def test_a_group_is_added_opened_updated_and_deleted(user: User, image: str) -> None:
    user.needs("25.5")
    group = f"nights-{user.version}"  # it stays, for its session's sake
    user.must(*GROUP, "add", group, "--scheduler", "drf", "--scheduler-opts", json.dumps(OPTIONS))
    user.refused(*GROUP, "add", group)
    refused = user.refused(*GROUP, "update", group, "--scheduler", "quickest")
    assert "there are drf, fair-share, fifo, lifo" in refused
    create = ["session", "create", "--enqueue-only", "--scaling-group", group, "--name", "night", *LITTLE]
    try:
        assert "does not exist or you do not have access" in user.refused(*create, image)
        user.must(*GROUP, "associate-scaling" if user.knows("26.9") else "associate-scaling-group", group, "default")
        assert "does not accept the session type" in user.refused(*create, image)
        told = json.loads(user.must("--output=json", *GROUP, "info", group))["items"][0]
        assert (told["scheduler"], told["scheduler_opts"]) == ("drf", OPTIONS)
        user.must(*GROUP, "update", group, "--scheduler", "fair-share", "--scheduler-opts", "{}")
        user.must(*create, image)
        assert "belong to the scaling group" in user.refused(*GROUP, "delete", group)
        user.must("session", "destroy", "night")
    finally:
        # The client's own command does it, and fails then over its output.
        answer = user.ask("POST", "/admin/gql", {"query": CLOSE, "variables": {"name": group}}).body["data"]
        assert answer["disassociate_scaling_group_with_domain"] == {"ok": True, "msg": "success"}
        user.must(*GROUP, "update", group, "--active", "false")


def test_a_group_is_kept_to_one_project(user: User, image: str) -> None:
    user.needs("25.5")
    group, name = f"kept-{user.version}", f"kept-{user.version.replace('.', '-')}"  # it stays, for its session's sake
    user.must(*GROUP, "add", group, "--scheduler", "fifo", "--scheduler-opts", "{}")
    projects = '{ groups_by_name(name: "default") { id scaling_groups } }'
    create = ["session", "create", "--enqueue-only", "--scaling-group", group, "--name", name, *LITTLE, image]
    (project,) = user.ask("POST", "/admin/gql", {"query": projects, "variables": {}}).body["data"]["groups_by_name"]
    try:
        assert "does not exist or you do not have access" in user.refused(*create)
        assert group not in user.must(*GROUP, "get-available", "default")
        assert user.change(OPEN, name=group, project=project["id"]) == {"ok": True, "msg": "success"}
        assert group in user.must(*GROUP, "get-available", "default")
        (shown,) = user.ask("POST", "/admin/gql", {"query": projects, "variables": {}}).body["data"]["groups_by_name"]
        assert group in shown["scaling_groups"]
        user.must(*create)
        user.must("session", "destroy", name)
        assert user.change(SHUT, name=group, project=project["id"]) == {"ok": True, "msg": "success"}
        assert "does not exist or you do not have access" in user.refused(*create)
    finally:
        user.must(*GROUP, "update", group, "--active", "false")


def test_a_closed_node_gets_no_session_until_it_is_open(user: User, image: str, leftovers: Leftovers) -> None:
    user.needs("25.5")
    change(user, schedulable=False)
    try:
        user.must("session", "create", "--enqueue-only", "--name", "shut-out", *LITTLE, image)
        waits = user.ask("GET", "/session/shut-out/explain", {}).body
        assert waits["verdict"] == "waits"
        assert str(agent(user)["id"]) in json.dumps(waits["reasons"])
    finally:
        change(user, schedulable=True)
    user.until("shut-out", "RUNNING")
    user.must("session", "destroy", "shut-out")
    assert eventually(lambda: not leftovers.all())
