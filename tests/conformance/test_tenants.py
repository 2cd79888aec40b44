"""An administrator gives domains, projects and keypairs quotas with the official client, and sessions keep to them."""

import json

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

pytestmark = pytest.mark.stack

DOMAIN, GROUP, KEYPAIR = ["admin", "domain"], ["admin", "group"], ["admin", "keypair"]
POLICY = ["admin", "keypair-resource-policy"]
PROJECT = '{ groups_by_name(name: "default") { id } }'


def reasons(user: User, session: str) -> str:
    return json.dumps(user.ask("GET", f"/session/{session}/explain", {}).body["reasons"])


@pytest.mark.parametrize("holder", ["domain", "project"])
def test_a_session_waits_for_the_quota_of_its_domain_or_project(
    user: User, image: str, leftovers: Leftovers, holder: str
) -> None:
    user.needs("25.5")
    (project,) = user.ask("POST", "/admin/gql", {"query": PROJECT, "variables": {}}).body["data"]["groups_by_name"]
    update = [*DOMAIN, "update", "default"] if holder == "domain" else [*GROUP, "update", project["id"]]
    info = [*DOMAIN, "info", "default"] if holder == "domain" else [*GROUP, "info", "default"]
    name = f"over-{holder}"
    user.must(*update, "--total-resource-slots", json.dumps({"cpu": "1", "cuda.shares@NVIDIA A100": "2"}))
    try:
        told = json.loads(user.must("--output=json", *info))["items"][0]
        limits = told["total_resource_slots"]  # the client reads a domain's, and leaves a project's as it came
        assert {"cpu": "1", "cuda.shares@NVIDIA A100": "2"} in (limits, isinstance(limits, str) and json.loads(limits))
        user.must("session", "create", "--enqueue-only", "--name", name, "-r", "cpu=2", "-r", "mem=128m", image)
        eventually(lambda: "this asks for 2" in reasons(user, name))
        assert f"{holder} default has 0 cpu, this asks for 2, and the limit is 1" in reasons(user, name)
        assert "not an amount of cpu" in user.refused(*update, "--total-resource-slots", '{"cpu": "some"}')
    finally:
        user.must(*update, "--total-resource-slots", "{}")
    user.until(name, "RUNNING")
    user.must("session", "destroy", name)
    assert eventually(lambda: not leftovers.all())


def test_what_is_not_kept_is_refused(user: User) -> None:
    user.needs("25.5")
    assert "a domain keeps its name" in user.refused(*DOMAIN, "update", "default", "--new-name", "other")
    assert "there is no domain" in user.refused(*DOMAIN, "update", "nowhere", "--description", "x")


def test_a_keypair_gets_another_policy(user: User, image: str) -> None:
    user.needs("25.5")
    key, policy = user.client.admin.access_key, f"wide-{user.version}"
    user.must(*POLICY, "add", policy, "--max-containers-per-session", "2")
    create = ["session", "create", "--enqueue-only", "--cluster-size", "2", "-r", "cpu=1", "-r", "mem=128m"]
    assert "more than 1 containers" in user.refused(*create, "--name", "twins", image)
    user.must(*KEYPAIR, "update", key, "--resource-policy", policy)
    try:
        assert policy in user.must(*KEYPAIR, "info")
        user.must(*create, "--name", "twins", image)
        user.must("session", "destroy", "twins")
        assert "there is no keypair resource policy" in user.refused(*KEYPAIR, "update", key, "--resource-policy", "x")
    finally:
        user.must(*KEYPAIR, "update", key, "--resource-policy", "default")
    assert "use another one to deactivate it" in user.refused(*KEYPAIR, "deactivate", key)
