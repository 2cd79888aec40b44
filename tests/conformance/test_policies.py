"""An administrator writes policies with the official client, and they hold for those who create sessions with it."""

import json

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

pytestmark = pytest.mark.stack

POLICY = ["admin", "keypair-resource-policy"]
LITTLE = ["-r", "cpu=1", "-r", "mem=128m"]
AGENTS = "{ agents { id } }"
DELETE = 'mutation { delete_keypair_resource_policy(name: "narrow") { ok msg } }'


def test_a_policy_is_added_updated_read_and_deleted(user: User) -> None:
    user.needs("25.5")
    limits = {"cpu": "4", "cuda.shares@NVIDIA A100": "2"}
    user.must(*POLICY, "add", "narrow", "--total-resource-slots", json.dumps(limits))
    user.refused(*POLICY, "add", "narrow")
    user.must(*POLICY, "update", "narrow", "--max-concurrent-sessions", "7", "--max-containers-per-session", "3")
    told = json.loads(user.must("--output=json", *POLICY, "info", "narrow"))["items"][0]
    assert (told["max_concurrent_sessions"], told["max_containers_per_session"]) == (7, 3)
    assert json.loads(told["total_resource_slots"]) == limits
    assert "LIMITED or UNLIMITED" in user.refused(*POLICY, "update", "narrow", "--default-for-unspecified", "SOME")
    assert "is a number from 1" in user.refused(*POLICY, "update", "narrow", "--max-containers-per-session", "0")
    answer = user.ask("POST", "/admin/gql", {"query": DELETE, "variables": {}})  # the client asks whether one is sure
    assert answer.body["data"]["delete_keypair_resource_policy"] == {"ok": True, "msg": "success"}
    user.refused(*POLICY, "update", "narrow", "--max-concurrent-sessions", "7")


def test_a_gang_is_allowed_by_a_policy_and_runs_on_the_designated_nodes(
    user: User, image: str, leftovers: Leftovers
) -> None:
    user.needs("25.5")
    (agent,) = user.ask("POST", "/admin/gql", {"query": AGENTS, "variables": {}}).body["data"]["agents"]
    mode = "multi_node" if user.knows("26.9") else "multi-node"
    create = ["session", "create", "--cluster-size", "2", "--cluster-mode", mode, *LITTLE]
    assert "more than 1 containers" in user.refused(*create, "--name", "pair", image)
    user.must(*POLICY, "update", "default", "--max-containers-per-session", "2")
    try:
        assert "No such agent: nowhere" in user.refused(
            *create, "--name", "pair", "--assign-agent", f"{agent['id']},nowhere", image
        )
        assert "same to the cluster size" in user.refused(
            *create, "--name", "pair", "--assign-agent", agent["id"], image
        )
        user.must(*create, "--name", "pair", "--assign-agent", f"{agent['id']},{agent['id']}", image)
        user.until("pair", "RUNNING")
        user.must("session", "destroy", "pair")
        assert eventually(lambda: not leftovers.all())
    finally:
        user.must(*POLICY, "update", "default", "--max-containers-per-session", "1")
