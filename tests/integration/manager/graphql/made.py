"""What the tests of GraphQL say and make: a door that is asked as somebody, people, sessions, folders, a node."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient

from caravan_common.errors import UnavailableError
from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import (
    keypairs,
    users,
    vfolders,
)
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.sessions import repository
from caravan_manager.sessions.model import Kernel, Session, SessionMount

MORNING = datetime(2026, 11, 21, 8, 55, 20, 758998, tzinfo=UTC)
SLOTS = ResourceSlots({"cpu": Decimal(1), "mem": Decimal(536870912)})
MOUNT = SessionMount(
    name="data",
    folder=UUID("bc6739e8-df14-40a5-8079-012206f87548"),
    host="local:volume1",
    quota_scope="user:f38dea23-50fa-42a0-b5ae-338f5f4693f4",
    subpath=PurePosixPath(),
    target=PurePosixPath("/home/work/data"),
    permission="rw",
)
Answer = dict[str, Any]
DONE = {"ok": True, "msg": "success"}
"""What a mutation answers that did what it was to do."""
Client = TestClient[web.Request, web.Application]


class Sealed:
    """Decrypts the tests' ciphertexts; can be out of order."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_down = False

    async def encrypt(self, plaintext: str) -> str:
        return plaintext

    async def decrypt_all(self, ciphertexts: Sequence[str]) -> list[str]:
        self.calls += 1
        if self.is_down:
            raise UnavailableError("Vault does not answer")
        return [f"opened {ciphertext}" for ciphertext in ciphertexts]


@dataclass
class Door:
    """Sends documents as one caller or another."""

    client: Client
    callers: dict[str, Principal]
    cipher: Sealed

    async def ask(self, caller: Principal, query: str, **variables: object) -> Answer:
        """Send a document to the newer path; its status is always 200."""
        response = await self.post("/admin/gql", caller, {"query": query, "variables": variables})
        assert response.status == 200
        answer: Answer = await response.json()
        return answer

    async def data(self, caller: Principal, query: str, **variables: object) -> Any:
        """Send a document and return its data; there must be no errors."""
        answer = await self.ask(caller, query, **variables)
        assert "errors" not in answer
        return answer["data"]

    async def error(self, caller: Principal, query: str, **variables: object) -> Answer:
        """Send a document and return its only error."""
        [error] = (await self.ask(caller, query, **variables))["errors"]
        return error

    async def post(self, path: str, caller: Principal, body: Answer) -> aiohttp.ClientResponse:
        self.callers[caller.access_key] = caller
        return await self.client.post(path, json=body, headers={"X-Caller": caller.access_key})


async def mutate(door: Door, caller: Principal, document: str, **variables: object) -> dict[str, Any]:
    """Send a mutation and return what its only field answers."""
    (answer,) = (await door.data(caller, document, **variables)).values()
    return dict(answer)


async def add_person(
    begin: Begin, like: Principal, name: str, role: UserRole, access_key: str, domain: str
) -> Principal:
    person = replace(
        like,
        user_id=uuid4(),
        email=f"{name}@example.com",
        username=name,
        role=role,
        access_key=access_key,
        domain_name=domain,
    )
    async with begin() as tx:
        await tx.execute(
            users.insert().values(
                id=person.user_id,
                username=name,
                email=person.email,
                password_hash="none",
                full_name=name.title(),
                role=role.value,
                domain_name=domain,
                resource_policy="default",
                main_access_key=access_key,
            )
        )
        await tx.execute(
            keypairs.insert().values(
                access_key=access_key,
                secret_ciphertext=f"sealed-{name}",
                user_id=person.user_id,
                resource_policy="default",
            )
        )
    return person


def running(owner: Principal, project: UUID, name: str, minute: int = 0) -> Session:
    """A running interactive session on the node ``n1``."""
    began = MORNING + timedelta(minutes=minute)
    session_id = uuid4()
    kernel = Kernel(
        id=uuid4(),
        session_id=session_id,
        cluster_role="main",
        cluster_idx=1,
        slots=SLOTS,
        status=SessionStatus.RUNNING,
        status_changed=began,
        created_at=began,
        node="n1",
        container_id="c0ffee",
    )
    return Session(
        id=session_id,
        name=name,
        type=SessionType.INTERACTIVE,
        priority=10,
        tag=None,
        domain_name=owner.domain_name,
        project_id=project,
        user_id=owner.user_id,
        access_key=owner.access_key,
        scaling_group="default",
        image="caravan/python:3.11-bookworm",
        registry="local",
        architecture="x86_64",
        cluster_mode=ClusterMode.SINGLE_NODE,
        requested_slots=SLOTS,
        resource_opts={"shmem": "67108864"},
        environ={"SECRET": "never shown"},
        mounts=(MOUNT,),
        startup_command=None,
        bootstrap_script=None,
        callback_url=None,
        status=SessionStatus.RUNNING,
        status_info="",
        status_data={},
        status_changed=began,
        status_history={"RUNNING": began.isoformat()},
        result=SessionResult.UNDEFINED,
        created_at=began,
        scheduled_at=began,
        terminated_at=None,
        kernels=(kernel,),
    )


async def add_node(begin: Begin, seconds: int = 0, **said: Any) -> None:
    """Have the node heard of, so many seconds after the first time, with what its agent says besides."""
    beat = NodeHeartbeat(
        at=MORNING + timedelta(seconds=seconds),
        node=str(uuid4()),
        name="n1",
        scaling_group="default",
        architecture="x86_64",
        version="0.1.0",
        url="http://127.0.0.1:6011",
        region="local",
        slots={"cpu": "9", "mem": "48926258176"},
        images=["caravan/python:3.11-bookworm"],
        **said,
    )
    await NodesService(begin).heard(beat)


async def add_sessions(begin: Begin, *made: Session) -> None:
    await add_node(begin)
    async with begin() as tx:
        for session in made:
            await repository.add(tx, session)


async def add_folder(begin: Begin, owner: Principal, name: str) -> UUID:
    folder = uuid4()
    async with begin() as tx:
        await tx.execute(
            vfolders.insert().values(
                id=folder,
                host="local:volume1",
                quota_scope_id=f"user:{owner.user_id}",
                name=name,
                domain_name=owner.domain_name,
                user_id=owner.user_id,
                creator=owner.email,
                ownership_type="user",
                usage_mode="general",
                permission="rw",
                status="delete-pending",
                created_at=datetime(2026, 11, 21, 8, 54, 21, 757513, tzinfo=UTC),
            )
        )
    return folder
