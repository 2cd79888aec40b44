"""Sessions in the manager, on a real PostgreSQL: from the request to the end, with every outage on the way."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from tests.fakes.agents import FakeAgents
from tests.fakes.leader import FakeLeader
from tests.fakes.nomad import FakeNomad

from caravan_common.errors import CaravanError, ForbiddenError, InvalidParametersError, NotFoundError
from caravan_common.ids import job_id
from caravan_common.nomad.client import Job, JobState
from caravan_common.nomad.events import AllocationEnded
from caravan_common.service import end
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_common.wire.agent import KernelSpec
from caravan_common.wire.devices import Device
from caravan_common.wire.events import NodeHeartbeat
from caravan_manager.compiler.job import compile_job
from caravan_manager.compiler.skeleton import Skeleton
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import audit_log, keypair_resource_policies
from caravan_manager.images.model import ImageNotFoundError
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.reconcile.sweeper import Limits, Sweeper
from caravan_manager.scheduler import loop, metrics
from caravan_manager.scheduler.loop import Cluster, Scheduler
from caravan_manager.sessions import repository
from caravan_manager.sessions.model import (
    Session,
    SessionAlreadyExistsError,
    SessionNotFoundError,
    TooManySessionsError,
)
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews
from caravan_manager.sessions.request import SessionRequest
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

SKELETON = Path(__file__).parents[2] / "golden/skeleton.json"
NODE = "7d9b2c5e-0000-4000-8000-000000000001"
LIMITS = Limits(every=timedelta(seconds=60), node_silence=timedelta(seconds=30), start=timedelta(minutes=15))
URL = "http://127.0.0.1:6011"
IMAGE = "caravan/python:3.11-bookworm"


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Manager:
    """The parts of a manager that sessions need."""

    begin: Begin
    moves: SessionMoves
    service: SessionsService
    scheduler: Scheduler
    sweeper: Sweeper
    nodes: NodesService
    nomad: FakeNomad
    agents: FakeAgents
    leader: FakeLeader
    clock: Clock

    async def session(self, session_id: UUID) -> Session:
        async with self.begin() as tx:
            return await repository.get(tx, session_id)

    async def add_node(
        self,
        name: str = "node1",
        cpu: str = "4",
        scaling_group: str = "default",
        node: str = NODE,
        url: str = URL,
        memory: int = 4 * 2**30,
        devices: Sequence[Device] = (),
    ) -> None:
        """A node is heard of; of its devices those that are well are in its slots."""
        accelerators = Counter(device.slot for device in devices if device.healthy)
        await self.nodes.heard(
            NodeHeartbeat(
                at=self.clock(),
                node=node,
                name=name,
                scaling_group=scaling_group,
                architecture="x86_64",
                version="0.1.0",
                url=url,
                region="local",
                slots={"cpu": cpu, "mem": str(memory)} | {slot: str(n) for slot, n in accelerators.items()},
                devices=list(devices),
                images=[IMAGE],
            )
        )

    async def schedule(self) -> None:
        """Do a pass, and wait for what it began."""
        await self.scheduler.pass_once()
        await self.scheduler.settled()

    async def started(self, session_id: UUID) -> Session:
        """Do a pass, and say that the containers run."""
        await self.schedule()
        session = await self.session(session_id)
        for kernel in session.kernels:
            session = await self.moves.apply(session_id, lambda s, now, k=kernel.id: s.kernel_started(k, "c0ffee", now))
        return session


@pytest.fixture
def manager(begin: Begin, tmp_path: Path) -> Manager:
    clock, nomad, agents, leader = Clock(), FakeNomad(), FakeAgents(), FakeLeader()
    moves = SessionMoves(begin, SessionNews(), clock)
    nodes = NodesService(begin)
    restarts = Restarts(moves, nomad, agents)
    skeleton = Skeleton(tmp_path / "session.nomad.json")
    (tmp_path / "session.nomad.json").write_text(json.dumps({"Job": json.loads(SKELETON.read_text())}))
    return Manager(
        begin=begin,
        moves=moves,
        service=SessionsService(begin, moves, VFoldersService(begin, {}), agents, nomad, clock, restarts),
        scheduler=Scheduler(begin, moves, Cluster(nomad, agents, skeleton, restarts), leader, 0.05),
        sweeper=Sweeper(moves, nomad, agents, nodes, Illnesses(moves), LIMITS),
        nodes=nodes,
        nomad=nomad,
        agents=agents,
        leader=leader,
        clock=clock,
    )


def request(name: str = "train", **changes: object) -> SessionRequest:
    wanted = SessionRequest(
        name=name,
        image=IMAGE,
        architecture="x86_64",
        type=SessionType.BATCH,
        project="default",
        domain="default",
        scaling_group=None,
        priority=10,
        tag=None,
        cluster_mode=ClusterMode.SINGLE_NODE,
        cluster_size=1,
        resources={"cpu": "1", "mem": "256m"},
        resource_opts={},
        environ={"GREETING": "hello"},
        mounts=(),
        startup_command="echo hello",
        bootstrap_script=None,
        callback_url=None,
        reuse=False,
    )
    return replace(wanted, **changes)  # type: ignore[arg-type]


async def test_a_session_is_placed_launched_and_ended(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    session = await manager.started(made.id)
    assert session.status is SessionStatus.RUNNING
    assert [job["ID"] for job in manager.nomad.registered] == [job_id(made.id)]
    spec = manager.agents.specs[URL, session.main_kernel.id]
    assert spec.startup_command == "echo hello"
    assert spec.environ["GREETING"] == "hello"
    ended = await manager.moves.apply(made.id, lambda s, now: s.kernel_terminated(s.main_kernel.id, 0, "exited", now))
    assert (ended.status, ended.result) == (SessionStatus.TERMINATED, SessionResult.SUCCESS)


async def test_without_a_node_a_session_waits_and_says_why(manager: Manager, user: Principal) -> None:
    made = (await manager.service.create(user, request())).session
    await manager.schedule()
    waiting = await manager.session(made.id)
    assert (waiting.status, waiting.status_info) == (SessionStatus.PENDING, "no-node-of-scaling-group")


async def test_a_full_node_is_used_again_when_a_session_ended(manager: Manager, user: Principal) -> None:
    await manager.add_node(cpu="1")
    first = (await manager.service.create(user, request("first"))).session
    second = (await manager.service.create(user, request("second"))).session
    await manager.started(first.id)
    assert (await manager.session(second.id)).status_info == "no-available-instances"
    await manager.moves.apply(first.id, lambda s, now: s.kernel_terminated(s.main_kernel.id, 0, "exited", now))
    assert (await manager.started(second.id)).status is SessionStatus.RUNNING


@pytest.mark.parametrize("outage", ["nomad", "agents"])
async def test_an_outage_delays_a_launch_and_loses_nothing(manager: Manager, user: Principal, outage: str) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    broken = manager.nomad if outage == "nomad" else manager.agents
    broken.silent = True
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.SCHEDULED
    broken.silent = False
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.PREPARING
    assert len(manager.agents.specs) == 1


async def test_a_gang_on_two_nodes_begins_when_nomad_says_which_ports_it_gave(
    manager: Manager, user: Principal
) -> None:
    other = "7d9b2c5e-0000-4000-8000-000000000002", "http://127.0.0.2:6011"
    await manager.add_node(cpu="1")
    await manager.add_node("node2", "1", node=other[0], url=other[1])
    async with manager.begin() as tx:
        await tx.execute(update(keypair_resource_policies).values(max_containers_per_session=2))
    wanted = request(cluster_mode=ClusterMode.MULTI_NODE, cluster_size=2)
    made = (await manager.service.create(user, wanted)).session
    assert (await manager.started(made.id)).status is SessionStatus.CREATING
    manager.nomad.silent = True
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.CREATING
    assert manager.agents.released == []

    manager.nomad.silent = False
    await manager.schedule()
    session = await manager.session(made.id)
    assert session.status is SessionStatus.RUNNING
    first, second = (manager.agents.told[kernel.id] for kernel in session.kernels)
    assert first.environ == {"MASTER_PORT": second.environ["MASTER_PORT"]}
    assert second.environ["MASTER_ADDR"] == second.ssh["main1"].host == "10.0.0.1"


async def test_an_agent_that_hangs_holds_up_no_pass(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one session is launched another is placed and a third one stopped; the launch goes on when it can."""
    await manager.add_node()
    stopped = (await manager.service.create(user, request("stopped"))).session
    await manager.started(stopped.id)
    answer, prepare = asyncio.Event(), manager.agents.prepare

    async def hanging(url: str, spec: KernelSpec) -> None:
        await answer.wait()
        await prepare(url, spec)

    monkeypatch.setattr(manager.agents, "prepare", hanging)
    hung = (await manager.service.create(user, request("hung"))).session
    await manager.scheduler.pass_once()
    await manager.service.destroy(user, "stopped", forced=False)
    placed = (await manager.service.create(user, request("placed"))).session
    async with asyncio.timeout(5):
        await manager.scheduler.pass_once()
        while not manager.nomad.jobs[job_id(stopped.id)].is_over:  # noqa: ASYNC110 - a fake, which tells nobody
            await asyncio.sleep(0.01)
    assert (await manager.session(placed.id)).status is SessionStatus.SCHEDULED
    answer.set()
    await manager.scheduler.settled()
    assert (await manager.session(hung.id)).status is SessionStatus.PREPARING


async def test_nothing_is_placed_by_who_leads_no_more(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    manager.leader.holders[manager.leader.key] = "another"
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.PENDING
    manager.leader.holders.clear()
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.PREPARING


async def test_a_job_is_not_registered_by_who_leads_no_more(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    prepare = manager.agents.prepare

    async def meanwhile(url: str, spec: KernelSpec) -> None:
        manager.leader.holders[manager.leader.key] = "another"
        await prepare(url, spec)

    monkeypatch.setattr(manager.agents, "prepare", meanwhile)
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.SCHEDULED
    assert manager.nomad.registered == []
    monkeypatch.undo()
    manager.leader.holders.clear()
    await manager.schedule()
    assert (await manager.session(made.id)).status is SessionStatus.PREPARING


async def test_a_session_that_is_destroyed_while_it_is_prepared_is_not_told_to_nomad(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session

    async def meanwhile(url: str, spec: KernelSpec) -> None:
        await manager.service.destroy(user, "train", forced=True)

    monkeypatch.setattr(manager.agents, "prepare", meanwhile)
    await manager.schedule()
    assert (await manager.session(made.id)).is_dead
    assert manager.nomad.registered == []


async def test_a_process_that_stops_gives_the_leadership_up_although_an_act_hangs(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DRAIN_SECONDS", 0.2)
    await manager.add_node()
    begun = asyncio.Event()

    async def hanging(url: str, spec: KernelSpec) -> None:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(manager.agents, "prepare", hanging)
    await manager.service.create(user, request())
    async with asyncio.timeout(15):
        running = asyncio.create_task(manager.scheduler.run())
        await begun.wait()
        assert manager.leader.holders
        await end([running])
    assert manager.leader.holders == {}


@pytest.mark.parametrize(("who", "reason"), [("nomad", "invalid"), ("agents", "conflict")])
async def test_a_refused_launch_is_an_error_and_leaves_no_job(
    manager: Manager, user: Principal, who: str, reason: str
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    (manager.nomad if who == "nomad" else manager.agents).refusal = "no such driver"
    counted = metrics.REFUSALS.labels(who.removesuffix("s"), reason)
    before = counted._value.get()
    await manager.schedule()
    assert counted._value.get() == before + 1
    session = await manager.session(made.id)
    assert session.status is SessionStatus.ERROR
    assert "no such driver" in session.status_data["error"]["repr"]
    assert all(job.stopped for job in manager.nomad.jobs.values())


async def test_destroying_stops_the_job_until_the_node_says_that_it_is_over(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request(type=SessionType.INTERACTIVE))).session
    session = await manager.started(made.id)
    await manager.service.destroy(user, "train", forced=False)
    await manager.schedule()
    assert manager.nomad.jobs[job_id(made.id)].stopped
    assert (await manager.session(made.id)).status is SessionStatus.TERMINATING
    ended = await manager.moves.apply(
        made.id, lambda s, now: s.kernel_terminated(session.main_kernel.id, 143, "exited", now)
    )
    assert (ended.status, ended.status_info) == (SessionStatus.TERMINATED, "user-requested")


async def test_destroying_by_force_ends_the_record_at_once(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    await manager.started(made.id)
    ended = await manager.service.destroy(user, str(made.id), forced=True)
    assert ended.status is SessionStatus.TERMINATED
    assert manager.nomad.jobs[job_id(made.id)].stopped


async def test_destroying_a_waiting_session_cancels_it(manager: Manager, user: Principal) -> None:
    await manager.service.create(user, request())
    assert (await manager.service.destroy(user, "train", forced=False)).status is SessionStatus.CANCELLED
    with pytest.raises(SessionNotFoundError):
        await manager.service.destroy(user, "train", forced=False)


async def test_a_name_is_live_once_and_free_again_after_the_end(manager: Manager, user: Principal) -> None:
    first = await manager.service.create(user, request())
    with pytest.raises(SessionAlreadyExistsError) as refused:
        await manager.service.create(user, request())
    assert refused.value.data == {"existingSessionId": str(first.session.id)}
    reused = await manager.service.create(user, request(reuse=True))
    assert (reused.session.id, reused.created) == (first.session.id, False)
    await manager.service.destroy(user, "train", forced=False)
    assert (await manager.service.create(user, request())).created


async def test_many_creates_of_one_name_at_once_make_one_session(manager: Manager, user: Principal) -> None:
    outcomes = await asyncio.gather(
        *[manager.service.create(user, request()) for _ in range(8)], return_exceptions=True
    )
    made = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(made) == 1
    assert all(isinstance(o, SessionAlreadyExistsError) for o in outcomes if isinstance(o, BaseException))


async def test_two_passes_at_once_launch_a_session_once(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    await asyncio.gather(manager.schedule(), manager.schedule())
    assert (await manager.session(made.id)).status is SessionStatus.PREPARING
    assert {job["ID"] for job in manager.nomad.registered} == {job_id(made.id)}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"image": "no/such:image"}, ImageNotFoundError),
        ({"image": "bad image"}, ImageNotFoundError),
        ({"project": "nowhere"}, InvalidParametersError),
        ({"domain": "elsewhere"}, InvalidParametersError),
        ({"scaling_group": "nowhere"}, NotFoundError),
        ({"resources": {"cpu": "1", "mem": "32m"}}, InvalidParametersError),
        ({"resources": {"cpu": "-1", "mem": "1g"}}, InvalidParametersError),
        ({"resources": {"cuda.device": "1"}}, InvalidParametersError),
        ({"resource_opts": {"shmem": "1g"}}, InvalidParametersError),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_left(
    manager: Manager, user: Principal, changes: dict[str, object], error: type[CaravanError]
) -> None:
    with pytest.raises(error):
        await manager.service.create(user, request(**changes))
    assert (await repository.list_page(manager.begin.reader, repository.SessionFilter(), 10, 0)).total == 0
    async with manager.begin() as tx:
        assert (await tx.execute(select(audit_log))).all() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "abc"},
        {"name": "-bad-"},
        {"name": "a b c d"},
        {"name": "../../etc"},
        {"name": "x" * 65},
        {"startup_command": None},
        {"startup_command": "  "},
        {"startup_command": "x" * 70_000},
        {"startup_command": "a\0b"},
        {"priority": 101},
        {"cluster_size": 0},
        {"environ": {"A B": "x"}},
    ],
)
def test_a_malformed_request_is_refused_before_anything_is_looked_up(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidParametersError):
        request(**changes)


async def test_resources_that_are_not_given_come_from_the_image(manager: Manager, user: Principal) -> None:
    made = (await manager.service.create(user, request(resources={"cpu": "0"}))).session
    assert made.requested_slots.to_json() == {"cpu": "1", "mem": str(64 * 2**20)}


async def test_a_waiter_learns_at_once_that_the_session_runs(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    waiter = asyncio.create_task(manager.service.wait_until_started(made.id, 10))
    await asyncio.sleep(0.05)
    began = asyncio.get_running_loop().time()
    await manager.started(made.id)
    assert (await waiter).status is SessionStatus.RUNNING
    assert asyncio.get_running_loop().time() - began < 0.9


async def test_a_waiter_gives_up_after_its_limit(manager: Manager, user: Principal) -> None:
    made = (await manager.service.create(user, request())).session
    assert (await manager.service.wait_until_started(made.id, 0.1)).status is SessionStatus.PENDING


async def test_other_users_sessions_are_not_there_for_a_user(
    manager: Manager, admin: Principal, user: Principal
) -> None:
    made = (await manager.service.create(admin, request())).session
    assert (await manager.service.one(admin, "train")).id == made.id
    for call in (
        manager.service.one(user, "train"),
        manager.service.by_id(user, made.id),
        manager.service.destroy(user, str(made.id), forced=True),
        manager.service.logs(user, str(made.id), None),
        manager.service.rename(user, str(made.id), "mine"),
    ):
        with pytest.raises(SessionNotFoundError):
            await call
    assert await manager.service.match(user, "train") == []
    with pytest.raises(ForbiddenError):
        await manager.service.list_page(
            user, statuses=None, access_key=admin.access_key, domain=None, project=None, limit=10, offset=0
        )


async def test_a_beginning_finds_a_session_unless_it_means_several(manager: Manager, user: Principal) -> None:
    await manager.service.create(user, request("train-one"))
    assert (await manager.service.one(user, "train")).name == "train-one"
    await manager.service.create(user, request("train-two"))
    with pytest.raises(TooManySessionsError):
        await manager.service.one(user, "train")


async def test_a_name_means_the_live_session_and_else_the_latest_dead_one(manager: Manager, user: Principal) -> None:
    for _ in range(2):
        manager.clock.now += timedelta(seconds=1)
        last = (await manager.service.create(user, request())).session
        await manager.service.destroy(user, "train", forced=False)
    assert (await manager.service.one(user, "train")).id == last.id
    manager.clock.now += timedelta(seconds=1)
    live = (await manager.service.create(user, request())).session
    assert (await manager.service.one(user, "train")).id == live.id


async def test_names_with_signs_of_patterns_mean_themselves(manager: Manager, user: Principal) -> None:
    await manager.service.create(user, request("train-one"))
    assert await manager.service.match(user, "%") == []
    assert await manager.service.match(user, "tra_n") == []


async def test_logs_come_from_the_node_that_ran_the_kernel(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    with pytest.raises(NotFoundError):
        await manager.service.logs(user, "train", None)
    session = await manager.started(made.id)
    kernel = session.main_kernel.id
    manager.agents.saved_logs[kernel] = b"hello\n"
    for read in (
        manager.service.logs(user, "train", None),
        manager.service.logs(user, "train", kernel),
        manager.service.task_logs(user, str(kernel)),
        manager.service.task_logs(user, str(session.id)),
        manager.service.task_logs(user, "train"),
    ):
        assert await read == b"hello\n"
    with pytest.raises(NotFoundError):
        await manager.service.logs(user, "train", UUID(int=1))


async def test_the_log_of_somebody_elses_task_is_not_found(manager: Manager, user: Principal, admin: Principal) -> None:
    await manager.add_node()
    made = (await manager.service.create(admin, request())).session
    session = await manager.started(made.id)
    manager.agents.saved_logs[session.main_kernel.id] = b"secret\n"
    with pytest.raises(NotFoundError):
        await manager.service.task_logs(user, str(session.main_kernel.id))


async def test_the_sweep_ends_sessions_without_jobs_and_jobs_without_sessions(
    manager: Manager, user: Principal
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    await manager.started(made.id)
    dead = (await manager.service.create(user, request("dead"))).session
    await manager.service.destroy(user, "dead", forced=True)
    orphan, stranger = job_id(dead.id), job_id(UUID(int=99))
    manager.nomad.jobs = {job: JobState(job, "running", stopped=False) for job in (orphan, stranger)}
    manager.clock.now += timedelta(minutes=5)
    found = await manager.sweeper.sweep_jobs()
    assert (found.orphans, found.vanished) == ((orphan,), (made.id,))
    gone = await manager.session(made.id)
    assert (gone.status, gone.result) == (SessionStatus.TERMINATED, SessionResult.FAILURE)
    assert manager.nomad.jobs[orphan].stopped
    assert not manager.nomad.jobs[stranger].stopped


async def test_an_end_that_only_nomad_saw_keeps_its_exit_code(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    made = await manager.started((await manager.service.create(user, request())).session.id)
    job = job_id(made.id)
    manager.nomad.jobs[job] = JobState(job, "dead", stopped=False)
    manager.nomad.allocations[job] = [AllocationEnded(made.id, "main1", 0, "allocation-complete")]
    manager.clock.now += timedelta(minutes=5)
    await manager.sweeper.sweep_jobs()
    ended = await manager.session(made.id)
    assert (ended.status, ended.result) == (SessionStatus.TERMINATED, SessionResult.SUCCESS)


async def test_a_session_that_is_destroyed_while_it_is_launched_leaves_no_job(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    register = manager.nomad.register

    async def destroyed_meanwhile(job: Job) -> None:
        await manager.service.destroy(user, "train", forced=True)
        await register(job)

    monkeypatch.setattr(manager.nomad, "register", destroyed_meanwhile)
    await manager.schedule()
    assert (await manager.session(made.id)).is_dead
    assert manager.nomad.jobs[job_id(made.id)].stopped


async def test_one_session_that_cannot_be_compiled_keeps_no_other(
    manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.add_node()
    odd = (await manager.service.create(user, request("odd-one"))).session
    fine = (await manager.service.create(user, request("fine"))).session

    def compile_or_fail(session: Session, *rest: Any) -> Job:
        if session.id == odd.id:
            raise KeyError("node")
        return compile_job(session, *rest)

    monkeypatch.setattr(loop, "compile_job", compile_or_fail)
    await manager.schedule()
    assert (await manager.session(fine.id)).status is SessionStatus.PREPARING
    assert (await manager.session(odd.id)).status is SessionStatus.SCHEDULED


async def test_an_administrators_name_means_the_administrators_own_session(
    manager: Manager, admin: Principal, user: Principal
) -> None:
    made = (await manager.service.create(user, request())).session
    with pytest.raises(SessionNotFoundError):
        await manager.service.destroy(admin, "train", forced=False)
    assert (await manager.service.one(admin, str(made.id))).id == made.id


async def test_an_exact_name_is_found_behind_any_number_of_longer_ones(manager: Manager, user: Principal) -> None:
    exact = (await manager.service.create(user, request("jobs"))).session
    for number in range(101):
        manager.clock.now += timedelta(seconds=1)
        await manager.service.create(user, request(f"jobs-{number}"))
    assert (await manager.service.one(user, "jobs")).id == exact.id


@pytest.mark.parametrize("name", ["", "abc", "a\nbcd", "x" * 65, "../../etc", str(UUID(int=1)) + "x" * 40])
async def test_a_session_is_not_renamed_to_what_is_no_name(manager: Manager, user: Principal, name: str) -> None:
    await manager.add_node()
    await manager.started((await manager.service.create(user, request())).session.id)
    with pytest.raises(InvalidParametersError):
        await manager.service.rename(user, "train", name)


async def test_the_sweep_outlives_an_outage_of_the_database_behind_many_nodes(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def broken() -> None:
        tried.set()
        raise ExceptionGroup("nodes", [OSError("PostgreSQL"), OSError("PostgreSQL")])

    monkeypatch.setattr(manager.sweeper, "sweep_nodes", broken)
    monkeypatch.setattr(manager.sweeper, "_limits", replace(LIMITS, every=timedelta(milliseconds=10)))
    running = asyncio.create_task(manager.sweeper.run())
    for _ in range(2):
        await asyncio.wait_for(tried.wait(), 5)
        tried.clear()
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("submitted", [True, False])
async def test_a_session_that_never_starts_ends_as_an_error(manager: Manager, user: Principal, submitted: bool) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    manager.agents.silent = not submitted
    await manager.schedule()
    manager.clock.now += timedelta(minutes=16)
    assert (await manager.sweeper.sweep_jobs()).late == (made.id,)
    late = await manager.session(made.id)
    assert (late.status, late.status_info) == (SessionStatus.ERROR, "failed-to-start")
    assert all(job.stopped for job in manager.nomad.jobs.values())


async def test_the_sweep_has_agents_forget_kernels_of_dead_sessions(manager: Manager, user: Principal) -> None:
    await manager.add_node()
    kept = await manager.started((await manager.service.create(user, request("kept"))).session.id)
    gone = await manager.started((await manager.service.create(user, request("gone"))).session.id)
    await manager.service.destroy(user, "gone", forced=True)
    manager.clock.now += timedelta(minutes=1)
    await manager.sweeper.sweep_nodes()
    assert {kernel for _, kernel in manager.agents.specs} == {kept.main_kernel.id}
    assert gone.main_kernel.id != kept.main_kernel.id


async def test_a_silent_node_is_lost_and_comes_back(manager: Manager, admin: Principal) -> None:
    await manager.add_node()
    assert await manager.nodes.mark_lost(datetime.now(UTC) - timedelta(minutes=1)) == []
    assert await manager.nodes.mark_lost(datetime.now(UTC) + timedelta(minutes=1)) == ["node1"]
    node, _ = await manager.nodes.node(admin, "node1")
    assert (node.status.value, node.lost_at is not None) == ("LOST", True)
    await manager.add_node()
    node, _ = await manager.nodes.node(admin, "node1")
    assert (node.status.value, node.lost_at) == ("ALIVE", None)


async def test_a_node_of_a_new_group_makes_the_group_and_no_domain_may_use_it(
    manager: Manager, admin: Principal, user: Principal, seed: Any
) -> None:
    await manager.add_node(scaling_group="gpu")
    assert [group.name for group in await manager.nodes.scaling_groups(admin)] == ["default", "gpu"]
    assert [group.name for group in await manager.nodes.usable_scaling_groups(user, seed.project)] == ["default"]


async def test_everything_that_was_done_is_in_the_audit_log(manager: Manager, user: Principal) -> None:
    made = (await manager.service.create(user, request())).session
    await manager.service.destroy(user, "train", forced=False)
    async with manager.begin() as tx:
        lines = (await tx.execute(select(audit_log).order_by(audit_log.c.id))).all()
    assert [(line.action, line.target, line.actor) for line in lines] == [
        ("session.create", str(made.id), user.user_id),
        ("session.destroy", str(made.id), user.user_id),
    ]
