"""Why sessions wait, asked over REST and GraphQL and by the command, on a real PostgreSQL."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from tests.integration.manager.api import Caller, Http, serving_api
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_session_life import Manager
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414

from caravan_common.wire.devices import Device
from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    keypair_resource_policies,
    scaling_groups,
    scaling_groups_of_domains,
    scaling_groups_of_projects,
    sessions,
)
from caravan_manager.people.model import OPERATOR
from caravan_manager.scheduler.explaining.page import WIDTH, page_of
from caravan_manager.scheduler.explaining.service import ExplanationsService

GIB = 2**30


@dataclass(frozen=True)
class World:
    """Two GPUs, of which the administrator's session `theirs` holds one and a half."""

    manager: Manager
    http: Http
    user: Caller
    admin: Caller
    seed: Seed

    async def make(self, caller: Caller, name: str, **resources: str) -> str:
        """Submit a session."""
        status, made = await caller.call("POST", "/session", self.request(name=name, **resources))
        assert status == 201, made
        return str(made["sessionId"])

    def request(self, name: str | None = None, group: str | None = None, **resources: str) -> dict[str, Any]:
        """Return the body of a request."""
        asked = {"cpu": "1", "mem": "1g"} | {slot.replace("_", "."): amount for slot, amount in resources.items()}
        config = {"resources": asked, "scaling_group": group}
        body = {"image": self.seed.image_reference, "enqueueOnly": True, "config": config}
        return body if name is None else body | {"name": name}


async def add_node(manager: Manager, name: str, group: str, gpus: int, is_ill: Callable[[int], bool]) -> None:
    devices = [
        Device(
            id=f"{name}-gpu{i}", slot="cuda.shares", model="A100", shares=10, healthy=not is_ill(i), problem="Xid 79"
        )
        for i in range(gpus)
    ]
    await manager.add_node(
        name, "8", group, node=str(uuid4()), url="http://127.0.0.1:6001", memory=16 * 2**30, devices=devices
    )


@pytest.fixture
async def world(begin: Begin, seed: Seed, manager: Manager) -> AsyncGenerator[World, None]:
    manager.clock.now = datetime.now(UTC)
    async with begin() as tx:
        await tx.execute(scaling_groups.insert().values(name="spare"))
        await tx.execute(scaling_groups_of_domains.insert().values(scaling_group="spare", domain_name="default"))
    await add_node(manager, "gpu-node", "default", 3, lambda i: i == 2)
    async with serving_api(begin) as http:
        made = World(
            manager,
            http,
            Caller(http, seed.user.access_key, seed.user_secret),
            Caller(http, seed.admin.access_key, seed.admin_secret),
            seed,
        )
        await made.make(made.admin, "theirs", cuda_shares="1.5")
        await manager.schedule()
        yield made


async def explained(caller: Caller, session: str) -> dict[str, Any]:
    status, told = await caller.call("GET", f"/session/{session}/explain")
    assert status == 200, told
    return told


def texts(told: dict[str, Any], what: str) -> list[str]:
    return [each["text"] for each in told[what]]


async def test_a_session_without_room_is_told_which_devices_lack_and_what_would_help(world: World) -> None:
    await world.make(world.user, "mine", cuda_shares="1")
    told = await explained(world.user, "mine")
    assert (told["verdict"], told["session"]["name"]) == ("waits", "mine")
    assert (told["queue"]["position"], told["queue"]["length"], told["queue"]["scheduler"]) == (1, 1, "fifo")
    (reason,) = told["reasons"]
    assert reason["name"] == "no-available-instances"
    (state,) = reason["facts"]["nodes"]
    assert state["lacks"] == [{"slot": "cuda.shares", "asks": "1", "left": "0.5", "total": "2"}]
    assert [device["healthy"] for device in state["devices"]] == [True, True, False]
    assert "gpu-node-gpu2 is ill: Xid 79" in reason["details"][0]
    assert "it asked for 0.5 cuda.shares instead of 1" in texts(told, "would_help")
    assert told["estimate"]["basis"] == "room-is-kept-after-unknown-ends"
    assert told["estimate"]["latest"] is None


async def test_other_peoples_sessions_are_named_to_administrators_only(world: World) -> None:
    mine = await world.make(world.user, "mine", cuda_shares="1")
    told = await explained(world.user, "mine")
    assert "a session of another user had ended" in texts(told, "would_help")
    assert "theirs" not in str(told)
    assert world.seed.admin.email not in str(told)
    told = await explained(world.admin, mine)
    assert "theirs had ended" in texts(told, "would_help")
    theirs = await world.make(world.admin, "more", cuda_shares="1")
    told = await explained(world.admin, theirs)
    assert told["queue"]["ahead"][0]["session"] == {"id": mine, "name": "mine", "owner": world.seed.user.email}


async def test_a_quota_is_told_in_numbers_and_by_what_it_would_have_to_grow(world: World) -> None:
    async with world.manager.begin() as tx:
        await tx.execute(keypair_resource_policies.update().values(total_resource_slots={"mem": str(4 * GIB)}))
    await world.make(world.user, "mine", mem="6g")
    told = await explained(world.user, "mine")
    reason, of_user = told["reasons"]
    assert (reason["name"], of_user["name"]) == ("keypair_resource_limit", "user_resource_limit")
    key = world.seed.user.access_key
    assert reason["text"].startswith(f"keypair {key} has 0 mem, this asks for 6 GiB, and the limit is 4 GiB")
    assert reason["facts"]["quotas"][0]["missing"] == str(2 * GIB)
    assert any("2 GiB more mem" in text for text in texts(told, "would_help"))
    assert "it asked for 4 GiB mem instead of 6 GiB" in texts(told, "would_help")


async def test_another_scaling_group_is_told_if_it_is_open_to_the_session(world: World) -> None:
    await add_node(world.manager, "spare-node", "spare", 1, lambda _: False)
    await world.make(world.user, "mine", cuda_shares="1")
    helping = [h for h in (await explained(world.user, "mine"))["would_help"] if h["kind"] == "scaling-group"]
    assert helping[0]["text"] == "it was in scaling group spare"
    device = {"slot": "cuda.shares", "id": "spare-node-gpu0", "amount": "1", "model": "A100"}
    assert helping[0]["seats"] == [{"node": "spare-node", "devices": [device]}]
    async with world.manager.begin() as tx:
        await tx.execute(scaling_groups_of_domains.delete().where(scaling_groups_of_domains.c.scaling_group == "spare"))
    assert "scaling group spare" not in str((await explained(world.user, "mine"))["would_help"])
    async with world.manager.begin() as tx:
        opened = {"scaling_group": "spare", "project_id": world.seed.project}
        await tx.execute(scaling_groups_of_projects.insert().values(**opened))
    assert "it was in scaling group spare" in texts(await explained(world.user, "mine"), "would_help")


async def test_a_session_that_is_not_in_the_queue_is_told_where_it_is(world: World) -> None:
    told = await explained(world.admin, "theirs")
    assert told["verdict"] == "not-in-queue"
    assert [seat["node"] for seat in told["seats"]] == ["gpu-node"]


async def test_a_strangers_session_does_not_exist_for_others(world: World) -> None:
    status, _ = await world.user.call("GET", "/session/theirs/explain")
    assert status == 404


async def test_a_dry_run_tells_nodes_and_devices_and_leaves_nothing(world: World) -> None:
    status, told = await world.user.call("POST", "/session/_/explain", world.request(cuda_shares="0.5"))
    assert (status, told["verdict"]) == (200, "starts")
    (seat,) = told["seats"]
    assert seat["node"] == "gpu-node"
    assert [device["amount"] for device in seat["devices"]] == ["0.5"]
    status, told = await world.user.call("POST", "/session/_/explain", world.request(cuda_shares="4"))
    assert (status, told["verdict"]) == (200, "waits")
    assert told["reasons"][0]["name"] == "larger-than-any-node"
    async with world.manager.begin() as tx:
        assert await tx.scalar(select(func.count()).select_from(sessions)) == 1


async def test_a_dry_run_is_behind_those_who_wait_already(world: World) -> None:
    await world.make(world.admin, "first", cuda_shares="1")
    status, told = await world.user.call("POST", "/session/_/explain", world.request(cuda_shares="0.5"))
    assert (status, told["verdict"], told["queue"]["position"]) == (200, "waits", 2)
    assert told["reasons"][0]["name"] == "behind-head-of-queue"
    assert told["reasons"][0]["text"] == "the room that there is is kept for a session of another user"


async def test_a_dry_run_refuses_what_submitting_would(world: World) -> None:
    status, _ = await world.user.call("POST", "/session/_/explain", world.request(rocm_device="1"))
    assert status == 400
    status, _ = await world.user.call("POST", "/session/_/explain", world.request(group="nowhere"))
    assert status == 404
    status, _ = await world.user.call("POST", "/session/_/explain", {"image": "nothing/like:it"})
    assert status == 404


QUERY = """query($id: UUID!) { session_explanation(id: $id) {
  session_id verdict summary position queue_length reasons would_help earliest latest details } }"""


async def test_graphql_says_the_same_and_only_of_sessions_that_one_may_see(world: World) -> None:
    mine = await world.make(world.user, "mine", cuda_shares="1")
    asked = {"query": QUERY, "variables": {"id": mine}}
    _, answer = await world.user.call("POST", "/admin/gql", asked)
    told = answer["data"]["session_explanation"]
    assert (told["session_id"], told["verdict"], told["position"]) == (mine, "waits", 1)
    assert "it asked for 0.5 cuda.shares instead of 1" in told["would_help"]
    theirs = await world.make(world.admin, "more", cuda_shares="1")
    _, answer = await world.user.call("POST", "/admin/gql", {"query": QUERY, "variables": {"id": theirs}})
    assert answer["data"]["session_explanation"] is None
    assert "does not exist" in answer["errors"][0]["message"]


async def test_the_operator_reads_a_page_of_a_hundred_columns(world: World) -> None:
    for i in range(12):
        await world.make(world.user, f"waiting-{i:02}", cuda_shares="1")
    manager = world.manager
    service = ExplanationsService(manager.begin, manager.service, manager.clock)
    page = page_of(await service.of_anybodys(OPERATOR, "waiting-11"))
    assert max(map(len, page.splitlines())) <= WIDTH
    assert "QUEUE       12 of 12 that wait in scaling group default (fifo)" in page
    assert "- behind waiting-00 of user@example.com (no-available-instances, room is kept for it)" in page
    assert "- and 1 more" in page
    first = await explained(world.user, "waiting-00")
    assert (await service.of_anybodys(OPERATOR, first["session"]["id"])).session["name"] == "waiting-00"


CONFIG = """
session_job = "unused.json"
[database]
host = "{database.host}"
port = {database.port}
name = "{database.name}"
user = "{database.user}"
password = ""
[redis]
host = "127.0.0.1"
port = 9
password = ""
[nomad]
address = "http://127.0.0.1:9"
[consul]
address = "http://127.0.0.1:9"
[vault]
address = "http://127.0.0.1:9"
token_file = "unused"
[agents]
token = "unused"
[storage]
"""


async def test_the_command_needs_nothing_but_the_database(
    world: World, database: DatabaseSection, tmp_path: Path
) -> None:
    await world.make(world.user, "mine", cuda_shares="1")
    (tmp_path / "manager.toml").write_text(CONFIG.format(database=database))
    command = Path(sys.executable).with_name("caravan-manager")

    async def said(session: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(command, "explain", "--config", tmp_path / "manager.toml", session),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    explained, refused = await asyncio.gather(said("mine"), said("nobody"))
    assert (explained[0], "SESSION     mine (" in explained[1]) == (0, True), explained
    assert (refused[0], "does not exist" in refused[1]) == (1, True), refused


async def test_a_part_that_no_accelerator_gives_is_told_with_what_would_do(world: World) -> None:
    await world.make(world.user, "mine", cuda_shares="0.33")
    told = await explained(world.user, "mine")
    assert texts(told, "reasons") == [
        "the accelerators of scaling group default are given in multiples of 0.1 cuda.shares only"
    ]
    assert "it asked for 0.3 cuda.shares instead of 0.33" in texts(told, "would_help")
