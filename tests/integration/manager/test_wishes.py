"""Nodes that a user designates and models of accelerators that a user names: from the API to the seat."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update
from tests.integration.manager.api import Caller, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_session_life import Manager
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414

from caravan_common.states import SessionStatus
from caravan_common.wire.devices import Device
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import images, keypair_resource_policies, scaling_groups
from caravan_manager.sessions import survey

INVALID = (400, "invalid-api-params")


async def add_node(manager: Manager, name: str, *models: str, group: str = "default") -> None:
    """A node with a GPU of each of the models."""
    devices = [Device(id=f"{name}-{i}", slot="cuda.shares", model=model, shares=10) for i, model in enumerate(models)]
    await manager.add_node(
        name, "8", group, node=str(uuid4()), url=f"http://{name}:6001", memory=16 * 2**30, devices=devices
    )


@dataclass
class World:
    """A cluster, and two who ask things of it."""

    manager: Manager
    user: Caller
    admin: Caller
    image: str

    def body(self, name: str = "train", **changes: Any) -> dict[str, Any]:
        """A request for a session."""
        config = {"resources": {"cpu": "1", "mem": "256m"}} | changes.pop("config", {})
        return {"name": name, "image": self.image, "enqueueOnly": True, "config": config} | changes

    async def ask(self, name: str = "train", **changes: Any) -> tuple[int, Any]:
        """Ask for a session as the user."""
        return await self.user.call("POST", "/session", self.body(name, **changes))

    async def placed(self, name: str = "train", **changes: Any) -> list[tuple[str | None, list[str]]]:
        """Ask for a session, do a pass, and return the node and the devices of each kernel."""
        status, made = await self.ask(name, **changes)
        assert status == 201, made
        await self.manager.schedule()
        session = await self.manager.session(UUID(made["sessionId"]))
        return [(kernel.node, [device.id for device in kernel.devices]) for kernel in session.kernels]


@pytest.fixture
async def world(begin: Begin, seed: Seed, manager: Manager) -> AsyncGenerator[World, None]:
    async with begin() as tx:
        await tx.execute(update(keypair_resource_policies).values(max_containers_per_session=4))
    for name in ("a", "b", "c"):
        await add_node(manager, name)
    async with serving_api(begin) as http:
        user, admin = (
            Caller(http, seed.user.access_key, seed.user_secret),
            Caller(http, seed.admin.access_key, seed.admin_secret),
        )
        yield World(manager, user, admin, seed.image_reference)


async def test_a_session_runs_on_the_designated_node(world: World) -> None:
    for name in ("c", "b", "a"):
        assert await world.placed(f"on-{name}", config={"agentList": [name]}) == [(name, [])]


async def test_each_container_of_a_gang_runs_on_its_own_designated_node(world: World) -> None:
    gang = {"clusterSize": 4, "clusterMode": "multi-node"}
    where = await world.placed(**gang, config={"agent_list": ["c", "a", "c", "b"]})
    assert [node for node, _ in where] == ["c", "a", "c", "b"]


async def test_all_containers_on_a_single_node_run_on_the_designated_one(world: World) -> None:
    where = await world.placed(clusterSize=3, clusterMode="single-node", config={"agentList": ["b"]})
    assert [node for node, _ in where] == ["b"] * 3


async def test_an_empty_list_designates_nothing(world: World) -> None:
    ((node, _),) = await world.placed(config={"agentList": []})
    assert node is not None


async def test_a_session_waits_for_its_node_and_says_so(world: World) -> None:
    await world.ask("all-of-b", config={"agentList": ["b"], "resources": {"cpu": "8", "mem": "1g"}})
    assert await world.placed("later", config={"agentList": ["b"]}) == [(None, [])]
    _, told = await world.user.call("GET", "/session/later/explain")
    assert [reason["name"] for reason in told["reasons"]] == ["no-available-instances"]
    assert any(help_["text"] == "any node did, not only b" for help_ in told["would_help"]), told


async def test_a_gang_that_is_queued_again_keeps_its_designated_nodes(world: World) -> None:
    gang = {"clusterSize": 2, "clusterMode": "multi-node", "config": {"agentList": ["b", "a"]}}
    await world.placed(**gang)
    async with world.manager.begin() as tx:
        (state,) = await survey.list_states(tx, [SessionStatus.SCHEDULED, SessionStatus.PREPARING])
    await world.manager.moves.apply(state.id, lambda s, now: s.preempted(uuid4(), again=True, attempt=1, now=now))
    queued = await world.manager.moves.apply(state.id, lambda s, now: s.vanished("gone", now))
    assert queued.status is SessionStatus.PENDING
    await world.manager.schedule()
    again = await world.manager.session(state.id)
    assert [kernel.node for kernel in again.kernels] == ["b", "a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"agentList": ["nowhere"]}}, "No such agent: nowhere"),
        ({"config": {"agentList": ["elsewhere"]}}, "No such agent: elsewhere"),
        ({"config": {"agentList": ["a", "b"]}}, "you may specify only one manually assigned agent"),
        (
            {"clusterSize": 2, "clusterMode": "multi-node", "config": {"agentList": ["a"]}},
            "the number of manually assigned agents must be same to the cluster size",
        ),
        ({"config": {"agentList": [""]}}, None),
        ({"config": {"agentList": "a"}}, None),
        ({"config": {"agentList": ["x" * 65]}}, None),
    ],
)
async def test_nodes_that_cannot_be_meant_are_refused(
    world: World, begin: Begin, changes: dict[str, Any], message: str | None
) -> None:
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="other"))
    await add_node(world.manager, "elsewhere", group="other")
    status, problem = await world.ask(**changes)
    assert (status, problem["type"].rpartition("/")[2]) == INVALID
    assert message is None or message in problem["msg"]


async def test_where_an_operator_says_so_only_superadmins_designate_nodes(
    begin: Begin, seed: Seed, world: World
) -> None:
    async with serving_api(begin, only_superadmins_designate=True) as http:
        user, admin = (
            Caller(http, seed.user.access_key, seed.user_secret),
            Caller(http, seed.admin.access_key, seed.admin_secret),
        )
        body = world.body("mine", config={"agentList": ["a"]})
        status, problem = await user.call("POST", "/session", body)
        assert (status, problem["type"].rpartition("/")[2]) == (403, "insufficient-privilege")
        assert (await user.call("POST", "/session", world.body("free")))[0] == 201
        theirs = body | {"owner_access_key": seed.user.access_key}
        assert (await admin.call("POST", "/session", theirs))[0] == 201, "the superadmin may for others, too"


MIXED = {"cuda.shares": "0.5", "cpu": "1", "mem": "256m"}


async def test_a_session_gets_accelerators_of_the_models_that_it_names(world: World) -> None:
    await add_node(world.manager, "d", "V100", "A100", "H100")
    for name, models, device in (
        ("as-text", "A100", "d-1"),
        ("as-list", ["H100"], "d-2"),
        ("either", "A100, H100", "d-1"),
    ):
        config = {"resources": MIXED, "resource_opts": {"accelerator_models": models}}
        assert await world.placed(name, config=config) == [("d", [device])]
    _, told = await world.user.call("GET", "/session/either")
    assert "'accelerator_models': 'A100,H100'" in told["resourceOpts"]


@pytest.mark.parametrize(
    ("resources", "models", "message"),
    [
        (MIXED, ["B200"], "no node has accelerators of model B200"),
        (MIXED, "A100,B200", "no node has accelerators of model B200"),
        (MIXED, [{"name": "A100"}], "no node has accelerators of model"),
        (MIXED, [f"M{i}" for i in range(17)], "a session names 16 models of accelerators at most"),
        ({"cpu": "1", "mem": "256m"}, ["A100"], "accelerator_models is for sessions that ask for accelerators"),
    ],
)
async def test_models_that_cannot_be_had_are_refused(
    world: World, resources: dict[str, str], models: object, message: str
) -> None:
    await add_node(world.manager, "d", "V100", "A100")
    status, problem = await world.ask(config={"resources": resources, "resource_opts": {"accelerator_models": models}})
    assert (status, problem["type"].rpartition("/")[2]) == INVALID
    assert problem["msg"].startswith(message)
    if "B200" in message:
        assert problem["data"] == {"unknown": ["B200"], "models": ["A100", "V100"]}


MODIFY = """mutation($name: String!, $input: ModifyKeyPairResourcePolicyInput!) {
    modify_keypair_resource_policy(name: $name, props: $input) { ok msg } }"""


async def allow(world: World, **limits: str) -> None:
    """Let the default policy's keypairs have so much of cuda.shares on GPUs of each model."""
    slots = json.dumps({f"cuda.shares@{model}": most for model, most in limits.items()})
    variables = {"name": "default", "input": {"total_resource_slots": slots}}
    _, answer = await world.admin.call("POST", "/admin/gql", {"query": MODIFY, "variables": variables})
    assert answer["data"]["modify_keypair_resource_policy"] == {"ok": True, "msg": "success"}


async def test_a_quota_for_a_model_holds_whatever_is_asked_for_at_once(world: World) -> None:
    await add_node(world.manager, "d", "A100", "A100", "A100", "V100")
    await allow(world, A100="1.5")
    asked = {"resources": MIXED, "resource_opts": {"accelerator_models": "A100"}}
    made = await asyncio.gather(*[world.ask(f"train-{i}", config=asked) for i in range(6)])
    assert {status for status, _ in made} == {201}
    for _ in range(2):
        await world.manager.schedule()
    sessions = [await world.manager.session(UUID(answer["sessionId"])) for _, answer in made]
    placed = [session for session in sessions if session.status is not SessionStatus.PENDING]
    assert len(placed) == 3
    assert {device.model for session in placed for device in session.main_kernel.devices} == {"A100"}
    waiting = next(session for session in sessions if session.status is SessionStatus.PENDING)
    failed = waiting.status_data["scheduler"]["failed_predicates"]
    assert [check["name"] for check in failed] == ["keypair_resource_limit", "user_resource_limit"]
    assert failed[0]["msg"] == "Your keypair resource quota is exceeded. (cuda.shares@A100=1.5)"
    _, told = await world.user.call("GET", f"/session/{waiting.id}/explain")
    assert any("more cuda.shares@A100" in help_["text"] for help_ in told["would_help"]), told["would_help"]
    assert await world.placed("any-model", config={"resources": MIXED}) == [("d", ["d-3"])]


async def test_what_ends_frees_the_quota_of_its_model(world: World) -> None:
    await add_node(world.manager, "d", "A100", "A100")
    await allow(world, A100="0.5")
    asked = {"resources": MIXED}
    assert (await world.placed("first", config=asked))[0][0] == "d"
    assert (await world.placed("second", config=asked))[0][0] is None
    _, found = await world.user.call("GET", "/session/_/match?id=first")
    first = UUID(found["matches"][0]["id"])
    await world.manager.moves.apply(first, lambda s, now: s.vanished("gone", now))
    await world.manager.schedule()
    _, found = await world.user.call("GET", "/session/second")
    assert found["status"] == "PREPARING"


async def test_the_offer_of_presets_is_as_before_with_limits_for_models(world: World) -> None:
    await add_node(world.manager, "d", "A100", "A100")
    _, before = await world.user.call("POST", "/resource/check-presets", {"group": "default"})
    await allow(world, A100="0.5")
    _, after = await world.user.call("POST", "/resource/check-presets", {"group": "default"})
    assert after == before


MIG = "cuda.device:1g.10gb-mig"


@pytest.mark.parametrize("amount", ["2", "0.5", "1.5"])
async def test_a_container_has_one_partition_of_a_gpu_or_none(world: World, amount: str) -> None:
    parts = [Device(id=f"MIG-{i}", slot=MIG, model="H100 1g.10gb") for i in range(4)]
    await world.manager.add_node("m", node=str(uuid4()), url="http://m:6001", devices=parts)
    wish = {"cpu": "1", "mem": "256m", MIG: amount}
    status, problem = await world.ask("parts", config={"resources": wish})
    assert (status, problem["type"].rpartition("/")[2]) == INVALID
    assert f"a container has one {MIG} or none, not {amount}" in problem["msg"]
    for mode in ("single-node", "multi-node"):
        where = await world.placed(mode, clusterSize=2, clusterMode=mode, config={"resources": wish | {MIG: "1"}})
        assert [(node, len(devices)) for node, devices in where] == [("m", 1), ("m", 1)]


GPU, NPU = {"cuda.shares": "1"}, {"atom.device": "1"}


@pytest.mark.parametrize(
    ("labels", "resources", "message"),
    [
        ({}, NPU, None),
        ({"ai.backend.accelerators": ""}, NPU, None),
        ({"ai.backend.accelerators": "rocm, atom"}, NPU, None),
        ({"ai.backend.accelerators": "*"}, GPU, None),
        ({"ai.backend.accelerators": "cuda"}, {}, None),
        ({"ai.backend.accelerators": "cuda"}, NPU, "resource type(s) not supported by the image"),
        ({"ai.backend.accelerators": "rocm,atom"}, GPU, "resource type(s) not supported by the image"),
        ({"ai.backend.resource.max.cuda.shares": "1", "ai.backend.resource.max.mem": "256m"}, GPU, None),
        ({"ai.backend.resource.max.cuda.shares": "0.5"}, GPU, "larger than the maximum allowed by the image"),
        ({"ai.backend.resource.max.mem": "255m"}, {}, "larger than the maximum allowed by the image"),
    ],
)
async def test_an_image_takes_the_accelerators_and_the_amounts_that_its_labels_name(
    world: World, begin: Begin, labels: dict[str, str], resources: dict[str, str], message: str | None
) -> None:
    devices = [Device(id="g", slot="cuda.shares", model="A100"), Device(id="n", slot="atom.device", model="ATOM")]
    await world.manager.add_node("d", node=str(uuid4()), url="http://d:6001", devices=devices)
    async with begin() as tx:
        await tx.execute(update(images).values(labels=labels))
    status, answer = await world.ask(config={"resources": {"cpu": "1", "mem": "256m"} | resources})
    assert status == (201 if message is None else 400), answer
    assert message is None or message in answer["msg"]


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("ai.backend.resource.max.mem", ""),
        ("ai.backend.resource.max.cpu", "Infinity"),
        ("ai.backend.resource.min.cpu", "NaN"),
        ("ai.backend.resource.min.CPU", "1"),
    ],
)
async def test_a_label_that_nobody_can_read_is_named(world: World, begin: Begin, label: str, value: str) -> None:
    async with begin() as tx:
        await tx.execute(update(images).values(labels={label: value, "ai.backend.resource.min.mem": "64m"}))
    status, answer = await world.ask(config={"resources": {"cpu": "1", "mem": "256m"}})
    told = f"the image {world.image} has a label that cannot be read: {label}={value!r}"
    assert (status, told in answer["msg"]) == (400, True), answer
    query = "{ images { resource_limits { key min max } } }"
    _, answer = await world.user.call("POST", "/admin/gql", {"query": query, "variables": {}})
    assert answer["data"]["images"] == [{"resource_limits": [{"key": "mem", "min": "67108864", "max": None}]}]


async def test_the_limits_of_an_image_are_shown(world: World, begin: Begin) -> None:
    labels = {
        "ai.backend.accelerators": "cuda,rocm",
        "ai.backend.resource.min.cpu": "1",
        "ai.backend.resource.max.cpu": "4",
        "ai.backend.resource.max.cuda.shares": "2",
    }
    async with begin() as tx:
        await tx.execute(update(images).values(labels=labels))
    query = "{ images { supported_accelerators resource_limits { key min max } } }"
    _, answer = await world.user.call("POST", "/admin/gql", {"query": query, "variables": {}})
    assert answer["data"]["images"] == [
        {
            "supported_accelerators": ["cuda", "rocm"],
            "resource_limits": [
                {"key": "cpu", "min": "1", "max": "4"},
                {"key": "cuda.shares", "min": "0", "max": "2"},
            ],
        }
    ]
