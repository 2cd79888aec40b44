"""A manager dies at each failpoint on a session's way; its successor finishes, and nothing is lost or left behind.

Real PostgreSQL and Redis; Nomad and the node in memory. A death is an exception that nothing catches: what the process
knew is thrown away, what it wrote stays. Whole processes are killed at the same places in tests/chaos.
"""

import importlib
import json
import pkgutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from tests.fakes.agents import FakeAgents
from tests.fakes.leader import FakeLeader
from tests.fakes.nomad import FakeNomad
from tests.integration.redis_server import RedisServer

import caravan_manager
from caravan_common.errors import UnavailableError
from caravan_common.failpoints import failpoint_names, observed
from caravan_common.ids import job_id, session_of
from caravan_common.nomad.client import JobState
from caravan_common.nomad.events import AllocationEnded
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_common.wire.agent import KernelSpec
from caravan_common.wire.devices import Device
from caravan_common.wire.events import EVENT, Event, KernelStarted, KernelTerminated, NodeHeartbeat, Streams
from caravan_manager.compiler.skeleton import Skeleton
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import keypair_resource_policies, scaling_groups
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.model import Principal
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.reconcile import watcher
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.reconcile.sweeper import Limits, Sweeper
from caravan_manager.reconcile.watcher import AgentWatcher, NomadWatcher
from caravan_manager.scheduler.loop import Cluster, Scheduler
from caravan_manager.sessions import repository
from caravan_manager.sessions import service as sessions_service
from caravan_manager.sessions.model import Session
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews
from caravan_manager.sessions.request import SessionRequest
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

for module in pkgutil.walk_packages(caravan_manager.__path__, "caravan_manager."):
    if ".migrations" not in module.name:
        importlib.import_module(module.name)

SKELETON = Path(__file__).parents[2] / "golden/skeleton.json"
NODE = "7d9b2c5e-0000-4000-8000-000000000001"
URL = "http://127.0.0.1:6011"
LIMITS = Limits(every=timedelta(seconds=60), node_silence=timedelta(seconds=30), start=timedelta(minutes=15))
TURN = timedelta(seconds=15)
"""How far the clock goes with each turn: as far as between two sweeps of a manager that was just started."""
TURNS = 6
"""How many turns a session may take to its end, and how many more until nothing of it is left: 90 s in all."""


class Died(BaseException):
    """The process was killed."""


@dataclass
class Killer:
    """Kills the process that passes ``name`` first: it passes nothing any more; its successor lives."""

    name: str | None
    passed: set[str] = field(default_factory=set)
    dying: bool = False

    def __call__(self, name: str) -> None:
        if name == self.name and name not in self.passed:
            self.dying = True
        self.passed.add(name)
        if self.dying:
            raise Died(name)


class Sealed:
    """A Vault in memory."""

    async def encrypt(self, plaintext: str) -> str:
        return plaintext[::-1]

    async def decrypt_all(self, ciphertexts: list[str]) -> list[str]:
        return [ciphertext[::-1] for ciphertext in ciphertexts]


@dataclass
class Process:
    """The parts of one manager. A second one shares nothing with it but what is written down."""

    service: SessionsService
    scheduler: Scheduler
    sweeper: Sweeper
    illnesses: Illnesses
    agents: AgentWatcher
    nomad: NomadWatcher
    nodes: NodesService
    secrets: SecretKeys


@dataclass
class Node(FakeAgents):
    """A node: runs the kernels whose job and specification it has, each once, and tells Redis."""

    ran: Counter[UUID] = field(default_factory=Counter)
    starts: bool = True
    tells: bool = True
    drops: int = 0
    """How many containers of a first rank end before the second one begins."""

    def live(self, nomad: FakeNomad, now: datetime) -> list[Event]:
        """Go on by one step; returns what the agent tells."""
        told: list[Event] = []
        for (url, kernel), spec in list(self.specs.items()):
            job = nomad.jobs.get(job_id(spec.session))
            if job is None:
                continue
            restarts = [group for restarted, group in nomad.restarted if restarted == job.id]
            container = f"c0ffee{len(restarts)}"
            if kernel not in self.ran and not job.is_over and self.starts:
                self.ran[kernel] += 1
                self.running[kernel] = container
                told.append(_started(spec, container, now))
                if spec.barrier_seconds and spec.cluster_role == "main" and self.drops:
                    self.drops -= 1
                    told.append(self._end(nomad, (url, kernel), 137, now))
            elif kernel in self.running and self.running[kernel] != container and not job.is_over:
                self.running[kernel] = container
                told.append(_started(spec, container, now))
            elif kernel in self.running and (job.stopped or _is_told(nomad, job)):
                told.append(self._end(nomad, (url, kernel), 143, now))
            elif kernel in self.running and self._is_done(url, spec):
                told.append(self._end(nomad, (url, kernel), 0, now))
        return told if self.tells else []

    def _is_done(self, url: str, spec: KernelSpec) -> bool:
        has_begun = not spec.barrier_seconds or (url, spec.kernel) in self.released
        return has_begun and spec.startup_command == "echo done"

    def _end(self, nomad: FakeNomad, kernel: tuple[str, UUID], code: int, now: datetime) -> KernelTerminated:
        spec = self.specs.pop(kernel)
        del self.running[spec.kernel]
        job = job_id(spec.session)
        if not any(other.session == spec.session and other.kernel in self.running for other in self.specs.values()):
            nomad.jobs[job] = JobState(job, "dead", stopped=nomad.jobs[job].stopped)
        groups = [group["Name"] for group in nomad.registered[-1]["TaskGroups"]]
        group = next(name for name in groups if name.partition("-")[0] == spec.cluster_hostname)
        nomad.allocations.setdefault(job, []).append(AllocationEnded(spec.session, group, code, "allocation-complete"))
        return KernelTerminated(
            at=now, node=NODE, session=spec.session, kernel=spec.kernel, exit_code=code, reason="finished"
        )


def _is_told(nomad: FakeNomad, job: JobState) -> bool:
    """Say whether the job's program was told to end since this was asked last."""
    told = [signalled for signalled in nomad.signalled if signalled[0] == job.id]
    nomad.signalled = [signalled for signalled in nomad.signalled if signalled not in told]
    return bool(told)


def _started(spec: KernelSpec, container: str, now: datetime) -> KernelStarted:
    return KernelStarted(at=now, node=NODE, session=spec.session, kernel=spec.kernel, container=container)


@dataclass
class World:
    """What outlives a manager, and the manager of now."""

    begin: Begin
    redis: Redis
    streams: Streams
    skeleton: Path
    user: Principal
    monkeypatch: pytest.MonkeyPatch
    nomad: FakeNomad = field(default_factory=FakeNomad)
    node: Node = field(default_factory=Node)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    killer: Killer = field(default_factory=lambda: Killer(None))
    has_node: bool = True
    silent_beats: bool = False
    devices: list[Device] = field(default_factory=list)

    def start(self) -> None:
        """Start a manager, which knows nothing but what is written down."""
        self.killer.dying = False
        moves = SessionMoves(self.begin, SessionNews(), lambda: self.now)
        nodes = NodesService(self.begin)
        illnesses = Illnesses(moves)
        restarts = Restarts(moves, self.nomad, self.node)
        cluster = Cluster(self.nomad, self.node, Skeleton(self.skeleton), restarts)
        folders = VFoldersService(self.begin, {})
        self.process = Process(
            service=SessionsService(self.begin, moves, folders, self.node, self.nomad, lambda: self.now, restarts),
            scheduler=Scheduler(self.begin, moves, cluster, FakeLeader(), 1),
            sweeper=Sweeper(moves, self.nomad, self.node, nodes, illnesses, LIMITS),
            illnesses=illnesses,
            agents=AgentWatcher(self.redis, self.streams, "manager", nodes, illnesses, moves),
            nomad=NomadWatcher(None, "", "", moves),  # type: ignore[arg-type]
            nodes=nodes,
            secrets=SecretKeys(Sealed(), lambda: 0.0),  # type: ignore[arg-type]
        )

    async def alive(self, act: Callable[[], Awaitable[object]]) -> None:
        """Let the manager do something; if it dies, its successor is started and does not do it again."""
        try:
            await act()
        except BaseExceptionGroup as group:
            died, others = group.split(Died)
            if died is None or others is not None:
                raise
            self.start()
        except Died:
            self.start()
        except UnavailableError:
            return  # the loops try again

    async def write(self, *events: Event) -> None:
        for event in events:
            await self.redis.xadd(self.streams.carrying(event).key, {"event": EVENT.dump_json(event)})

    async def turn(self) -> None:
        """Let everybody act once, and time pass."""
        self.now += TURN
        if self.has_node and not self.silent_beats:
            await self.write(self._beat())
        await self.alive(self._read)
        await self.alive(self._schedule)
        await self.write(*self.node.live(self.nomad, self.now))
        await self.alive(self._read)
        await self.alive(self._follow_nomad)
        await self.alive(self.process.sweeper.sweep_jobs)
        await self.alive(self.process.sweeper.sweep_nodes)
        await self.alive(self.process.sweeper.sweep_devices)
        await self.alive(self.process.illnesses.sweep)

    async def _schedule(self) -> None:
        await self.process.scheduler.pass_once()
        await self.process.scheduler.settled()

    async def _read(self) -> None:
        self.monkeypatch.setattr(watcher, "BLOCK_MILLISECONDS", 1)
        for stream in (self.streams.nodes, self.streams.kernels):
            await self.process.agents._take_up(stream)
            await self.process.agents._read_from(stream, watcher.NEW)

    async def _follow_nomad(self) -> None:
        ended = [over for overs in self.nomad.allocations.values() for over in overs]

        async def stream(*_: object) -> AsyncIterator[AllocationEnded]:
            for over in ended if self.node.tells else []:
                yield over

        self.monkeypatch.setattr(watcher, "allocations_ended", stream)
        await self.process.nomad._follow()

    def _beat(self) -> NodeHeartbeat:
        return NodeHeartbeat(
            at=self.now,
            node=NODE,
            name="node1",
            scaling_group="default",
            architecture="x86_64",
            version="0.1.0",
            url=URL,
            region="local",
            slots={"cpu": "4", "mem": "4294967296"} | {device.slot: "1" for device in self.devices},
            devices=self.devices,
            images=[],
        )

    async def sessions(self) -> list[Session]:
        async with self.begin() as tx:
            return await repository.list_by_status(tx, list(SessionStatus))

    async def create(self, command: str | None, **more: Any) -> None:
        """Make the session, as a user does who looks whether it is there when there was no answer."""
        while not await self.sessions():
            await self.alive(lambda: self.process.service.create(self.user, _request(command, **more)))

    async def destroy(self, *, forced: bool = False) -> None:
        """End the session, as a user does who asks again when there was no answer."""
        for _ in range(2):
            (session,) = await self.sessions()
            if not session.is_dead and session.status is not SessionStatus.TERMINATING:
                await self.alive(lambda: self.process.service.destroy(self.user, "desk", forced=forced))

    async def restart(self) -> None:
        """Replace the container, as a user does who looks whether it began when there was no answer."""
        (session,) = await self.sessions()
        containers = [kernel.container_id for kernel in session.kernels]
        while [kernel.container_id for kernel in session.kernels] == containers:
            await self.alive(lambda: self.process.service.restart(self.user, "desk"))
            (session,) = await self.sessions()

    async def lose_nodes(self) -> None:
        """Let so much time pass that a silent node is LOST; the database's own clock stamps heartbeats."""
        self.now = max(self.now, datetime.now(UTC) + LIMITS.node_silence + timedelta(seconds=2))
        await self.process.sweeper.mark_lost_nodes(self.now - timedelta(days=1))

    async def until(self, *wanted: SessionStatus) -> Session:
        """Take turns until the session is in one of the states."""
        for _ in range(TURNS):
            (session,) = await self.sessions()
            if session.status in wanted:
                return session
            await self.turn()
        (session,) = await self.sessions()
        assert session.status in wanted, f"{session.status} ({session.status_info})"
        return session

    async def settled(self) -> list[str]:
        """Take turns until nothing is left of the session; says what is left in spite of that."""
        for _ in range(TURNS):
            if not self.left():
                break
            await self.turn()
        return self.left() + [
            f"kernel {kernel} ran {times} times" for kernel, times in self.node.ran.items() if times > 1
        ]

    def left(self) -> list[str]:
        jobs = [f"job {job.id}" for job in self.nomad.jobs.values() if not job.is_over and session_of(job.id)]
        return jobs + [f"kernel {kernel}" for _, kernel in self.node.specs]


def _request(command: str | None, **more: Any) -> SessionRequest:
    wanted = SessionRequest(
        name="desk",
        image="caravan/python:3.11-bookworm",
        architecture="x86_64",
        type=SessionType.INTERACTIVE if command is None else SessionType.BATCH,
        project="default",
        domain="default",
        scaling_group=None,
        priority=10,
        tag=None,
        cluster_mode=ClusterMode.SINGLE_NODE,
        cluster_size=1,
        resources={"cpu": "1", "mem": "256m"},
        resource_opts={},
        environ={},
        mounts=(),
        startup_command=command,
        bootstrap_script=None,
        callback_url=None,
        reuse=True,
    )
    return replace(wanted, **more)


DEAD = (SessionStatus.TERMINATED, SessionStatus.ERROR, SessionStatus.CANCELLED)
End = tuple[SessionStatus, SessionResult]
Journey = Callable[["World"], Awaitable[End]]
DESTROYED: End = (SessionStatus.TERMINATED, SessionResult.UNDEFINED)
FAILED: End = (SessionStatus.ERROR, SessionResult.UNDEFINED)


async def desk(world: World) -> End:
    """An interactive session runs and is destroyed."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    await world.destroy()
    return DESTROYED


async def batch(world: World) -> End:
    """A batch session ends by itself."""
    await world.create("echo done")
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


async def signed(world: World) -> End:
    """The caller's signature is checked first."""
    await world.alive(lambda: world.process.secrets.reveal("terces"))
    return await desk(world)


async def forced(world: World) -> End:
    """A session is destroyed by force."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    await world.destroy(forced=True)
    return DESTROYED


async def forced_while_nomad_is_away(world: World) -> End:
    """A session is destroyed by force, and Nomad cannot be told: the sweep stops the job later."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    world.nomad.silent = True
    await world.destroy(forced=True)
    world.nomad.silent = False
    return DESTROYED


async def waiting(world: World) -> End:
    """There is no node at first."""
    world.has_node = False
    await world.create(None)
    await world.turn()
    world.has_node = True
    await world.until(SessionStatus.RUNNING)
    await world.destroy()
    return DESTROYED


async def refused(world: World) -> End:
    """Nomad will not have the job; the agent has prepared the kernel by then."""
    world.nomad.refusal = "no such driver"
    await world.create(None)
    await world.until(SessionStatus.ERROR)
    return FAILED


async def late(world: World) -> End:
    """The container never starts."""
    world.node.starts = False
    await world.create(None)
    await world.until(SessionStatus.PREPARING)
    world.now += LIMITS.start
    return FAILED


async def untold_start(world: World) -> End:
    """The start is lost with Redis' data."""
    world.node.tells = False
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    world.node.tells = True
    await world.destroy()
    return DESTROYED


async def untold_end(world: World) -> End:
    """The end is lost, too: only Nomad's list of allocations knows it."""
    world.node.tells = False
    await world.create("echo done")
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


async def destroyed_while_launched(world: World) -> End:
    """A session is destroyed while Nomad is being told of it."""
    register = world.nomad.register

    async def meanwhile(job: Any) -> None:
        await register(job)
        await world.process.service.destroy(world.user, "desk", forced=True)

    world.monkeypatch.setattr(world.nomad, "register", meanwhile)
    await world.create(None)
    await world.until(*DEAD, SessionStatus.RUNNING)  # it runs when the manager died over the request
    world.monkeypatch.setattr(world.nomad, "register", register)
    await world.destroy(forced=True)
    return DESTROYED


async def lost_node(world: World) -> End:
    """The node is silent for too long, is LOST, comes back, and its session runs on."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    world.silent_beats = True
    for _ in range(2):
        await world.alive(world.lose_nodes)
    world.silent_beats = False
    await world.turn()
    assert (await world.sessions())[0].status is SessionStatus.RUNNING
    await world.destroy()
    return DESTROYED


async def cancelled(world: World) -> End:
    """There is never a node, and the scaling group cancels what waits too long."""
    async with world.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"pending_timeout": "30s"}))
    world.has_node = False
    await world.create(None)
    await world.until(SessionStatus.CANCELLED)
    return SessionStatus.CANCELLED, SessionResult.UNDEFINED


async def timed_out(world: World) -> End:
    """A batch session runs for longer than it may."""
    await world.create("sleep infinity", batch_timeout=TURN)
    return SessionStatus.TERMINATED, SessionResult.FAILURE


async def requeued(world: World) -> End:
    """The node falls silent after its agent heard of the kernel, and before Nomad did."""
    world.nomad.silent = True
    await world.create(None)
    await world.turn()
    world.silent_beats = True
    for _ in range(2):  # a manager that dies over it leaves it to its successor
        await world.alive(world.lose_nodes)
    world.nomad.silent = False
    await world.turn()
    world.silent_beats = False
    await world.until(SessionStatus.RUNNING)
    for _ in range(3):
        await world.turn()
    assert len(world.node.specs) == 1, "the kernel of the first attempt is left"
    await world.destroy()
    return DESTROYED


async def restarted(world: World) -> End:
    """A session's container is replaced, once."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    await world.restart()
    await world.until(SessionStatus.RUNNING)
    assert world.node.running != {}
    await world.destroy()
    return DESTROYED


async def restarted_untold(world: World) -> End:
    """The start of the new container is lost."""
    await world.create(None)
    await world.until(SessionStatus.RUNNING)
    world.node.tells = False
    await world.restart()
    await world.until(SessionStatus.RUNNING)
    world.node.tells = True
    await world.destroy()
    return DESTROYED


def _released(world: World) -> set[UUID]:
    """Return the kernels that were told to begin; a manager that died over it may have come to some of them only."""
    return {kernel for _, kernel in world.node.released}


async def gang(world: World) -> End:
    """Two kernels begin when both are up."""
    await world.create("echo done", cluster_size=2)
    ended = await world.until(*DEAD)
    assert len(world.node.ran) == 2
    assert _released(world) <= {kernel.id for kernel in ended.kernels}
    assert ended.main_kernel.id in _released(world)
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


async def gang_that_lost_a_rank(world: World) -> End:
    """A kernel ends before both were up: the other is taken down with it, and two new ones begin."""
    world.node.drops = 1
    await world.create("echo done", cluster_size=2)
    ended = await world.until(*DEAD)
    assert ended.attempt == 2
    assert _released(world) <= {kernel.id for kernel in ended.kernels}
    assert ended.main_kernel.id in _released(world)
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


async def gang_that_never_comes_up(world: World) -> End:
    """A kernel ends before both are up, each time."""
    world.node.drops = 100
    await world.create("echo done", cluster_size=2)
    for _ in range(3):  # times as many turns
        session = (await world.sessions())[0]
        if not session.is_dead:
            for _ in range(TURNS):
                await world.turn()
    ended = await world.until(SessionStatus.ERROR)
    assert "rank was lost" in ended.status_data["error"]["repr"]
    assert world.node.released == []
    return FAILED


async def gang_on_a_lost_node(world: World) -> End:
    """The node falls silent while the kernels wait for each other, and comes back without them."""
    world.node.starts = False
    await world.create("echo done", cluster_size=2)
    await world.until(SessionStatus.PREPARING)
    world.silent_beats = True
    for _ in range(2):
        await world.alive(world.lose_nodes)
    await world.turn()
    await world.turn()
    world.node.starts, world.silent_beats = True, False
    ended = await world.until(*DEAD)
    assert ended.attempt == 2
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


async def preempted(world: World) -> End:
    """A session ends for one of higher priority, and runs again when that one is gone."""
    return await _give_way(world, None)


async def preempted_with_time_left(world: World) -> End:
    """A batch session is told that it is to end for another one, and ends by itself long before it must."""
    return await _give_way(world, "sleep 1000", preemption_grace="1h")


async def _give_way(world: World, command: str | None, **more: str) -> End:
    rules = {"enabled": True, "mode": "reschedule", **more}
    async with world.begin() as tx:
        await tx.execute(scaling_groups.update().values(scheduler_opts={"preemption": rules}))
    everything = {"resources": {"cpu": "4", "mem": "256m"}}
    await world.create(command, priority=1, **everything)
    await world.until(SessionStatus.RUNNING)
    urgent = _request(None, name="urgent", priority=50, **everything)
    while len(await world.sessions()) < 2:
        await world.alive(lambda: world.process.service.create(world.user, urgent))
    for _ in range(2 * TURNS):
        desk, other = sorted(await world.sessions(), key=lambda session: session.name)
        if other.status is SessionStatus.RUNNING:
            break
        await world.turn()
    assert (desk.status, other.status) == (SessionStatus.PENDING, SessionStatus.RUNNING)
    while not other.is_dead:
        await world.alive(lambda: world.process.service.destroy(world.user, "urgent", forced=True))
        (other,) = [session for session in await world.sessions() if session.name == "urgent"]
    for _ in range(TURNS):
        if not any(session_of(left) == other.id for left, job in world.nomad.jobs.items() if not job.is_over):
            break
        await world.turn()
    async with world.begin() as tx:
        await tx.execute(text("DELETE FROM sessions WHERE name = 'urgent'"))
    assert (await world.until(SessionStatus.RUNNING)).attempt == 2
    await world.destroy()
    return DESTROYED


async def ill(world: World) -> End:
    """The session's accelerator falls ill and gets well again: each is told once, whoever dies over it."""
    well = Device(id="GPU-1", slot="cuda.device", model="A100")
    world.devices = [well]
    await world.turn()
    await world.create(None, resources={"cpu": "1", "mem": "256m", "cuda.device": "1"})
    await world.until(SessionStatus.RUNNING)
    world.devices = [well.model_copy(update={"healthy": False, "problem": "XID 79"})]
    for _ in range(2):
        await world.turn()
    (session,) = await world.sessions()
    (told,) = session.status_data["devices"]["ill"]
    assert (told["kernel"], told["device"], told["problem"]) == ("main1", "GPU-1", "XID 79")
    await world.turn()
    assert (await world.sessions())[0].status_data["devices"]["ill"] == [told]
    world.devices = [well]
    for _ in range(2):
        await world.turn()
    (session,) = await world.sessions()
    assert (session.status, "devices" in session.status_data) == (SessionStatus.RUNNING, False)
    await world.destroy()
    return DESTROYED


async def ill_before_a_place_was_found(world: World) -> End:
    """The accelerator falls ill when Nomad has the job, and no place for it: the session gets another one."""
    first, second = (Device(id=f"GPU-{number}", slot="cuda.device", model="A100") for number in (1, 2))
    world.devices, world.node.starts, world.nomad.finds_places = [first], False, False
    await world.turn()
    await world.create("echo done", resources={"cpu": "1", "mem": "256m", "cuda.device": "1"})
    await world.until(SessionStatus.PREPARING)
    world.devices = [first.model_copy(update={"healthy": False, "problem": "XID 79"}), second]
    for _ in range(2):
        await world.turn()
    world.node.starts = True
    ended = await world.until(*DEAD)
    assert (ended.attempt, [held.id for held in ended.main_kernel.devices]) == (2, ["GPU-2"])
    return SessionStatus.TERMINATED, SessionResult.SUCCESS


JOURNEYS = (
    desk, batch, signed, forced, forced_while_nomad_is_away, waiting, refused, late, untold_start, untold_end,
    destroyed_while_launched, lost_node, cancelled, timed_out, requeued, restarted, restarted_untold,
    gang, gang_that_lost_a_rank, gang_that_never_comes_up, gang_on_a_lost_node, preempted,
    preempted_with_time_left, ill, ill_before_a_place_was_found,
)  # fmt: skip
NAMES = [name for name in failpoint_names() if name.startswith("manager.")]


@pytest.fixture
async def world(
    begin: Begin,
    user: Principal,
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """An empty world with a manager in it."""
    skeleton = tmp_path / "session.nomad.json"
    skeleton.write_text(json.dumps({"Job": json.loads(SKELETON.read_text())}))
    redis = Redis(host="127.0.0.1", port=redis_server.port)
    made = World(begin, redis, Streams.of("caravan:events"), skeleton, user, monkeypatch)
    made.start()
    monkeypatch.setattr(sessions_service, "RESTART_SECONDS", 0)
    yield made
    await redis.aclose()


async def _anew(world: World) -> World:
    """Return the world without any session, node or event."""
    async with world.begin() as tx:
        await tx.execute(text("DELETE FROM sessions"))  # and their kernels; a TRUNCATE takes four times as long
        await tx.execute(text("DELETE FROM nodes"))
        await tx.execute(scaling_groups.update().values(scheduler_opts={}))
        await tx.execute(keypair_resource_policies.update().values(max_containers_per_session=2))
    await world.redis.flushall()
    fresh = World(world.begin, world.redis, world.streams, world.skeleton, world.user, world.monkeypatch)
    fresh.start()
    return fresh


async def _survive(world: World, journey: Journey, killer: Killer) -> list[str]:
    """Go on the journey while the killer is about; says what is wrong afterwards."""
    world = await _anew(world)
    world.killer = killer
    with observed(killer):
        try:
            expected = await journey(world)
            ended = await world.until(*DEAD)
            left = await world.settled()
        except AssertionError as error:
            return [f"it does not end: {error}"]
    if (ended.status, ended.result) != expected:
        left.append(f"it ended as {ended.status}/{ended.result} ({ended.status_info})")
    if killer.name is not None and killer.name not in killer.passed:
        left.append("nobody passed it")
    return left


async def _passed(world: World, journey: Journey) -> set[str]:
    """Go on the journey, which must end well; returns the places that it passes."""
    killer = Killer(None)
    assert (journey.__name__, await _survive(world, journey, killer)) == (journey.__name__, [])
    return killer.passed


async def _deaths(world: World, journey: Journey, names: set[str]) -> dict[str, list[str]]:
    """Die at each of the places, once. Returns what went wrong."""
    found = {name: await _survive(world, journey, Killer(name)) for name in sorted(names)}
    return {f"{journey.__name__}, {name}": problems for name, problems in found.items() if problems}


@pytest.mark.timeout(600)
async def test_every_journey_ends_well_and_a_death_behind_any_act_is_survived(world: World) -> None:
    """Together the journeys pass every place. What was done and is not recorded yet is what a death can lose."""
    problems: dict[str, list[str]] = {}
    seen: set[str] = set()
    for journey in JOURNEYS:
        fresh = await _passed(world, journey) - seen
        problems |= await _deaths(world, journey, {name for name in fresh if not name.endswith(".before")})
        seen |= fresh
    assert problems == {}
    assert set(NAMES) - seen == set()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("journey", JOURNEYS)
async def test_a_death_at_any_place_of_any_journey_is_survived(world: World, journey: Journey) -> None:
    assert await _deaths(world, journey, await _passed(world, journey)) == {}
