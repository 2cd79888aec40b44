"""Carries out plans: place what waits, launch what is placed, stop what is to end. Only the leader does.

Each step reads what the database says, acts idempotently outside any transaction, and records with a guard; a process
may die between any two statements, and the next pass goes on from the record.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from caravan_common.consul.leader import Leadership
from caravan_common.errors import CaravanError
from caravan_common.failpoints import FailpointPair
from caravan_common.ids import job_id
from caravan_common.nomad.client import Job, JobRefusedError, Nomad
from caravan_common.states import NodeStatus, SessionStatus
from caravan_common.wire.agent import KernelSpec
from caravan_manager.compiler.job import compile_job
from caravan_manager.compiler.kernel import Owner, compile_kernel
from caravan_manager.compiler.skeleton import Skeleton
from caravan_manager.db.engine import Begin
from caravan_manager.images import repository as images
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents, SpecRefusedError
from caravan_manager.nodes.model import Node
from caravan_manager.scheduler import metrics
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.snapshot import (
    KernelRequest,
    NodeView,
    Obstacle,
    Placement,
    SessionRequest,
    Snapshot,
    Wait,
)
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions.model import Kernel, Session
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.restarts import Restarts

log = structlog.get_logger()

AT_ONCE = 16
"""How many sessions are launched or stopped at the same moment."""
ALIVE = NodeStatus.ALIVE.value
PLAN_LIFETIME = timedelta(seconds=5)
"""How long after its snapshot a plan may be carried out: well below the time after which another process may lead."""
STOP_AGAIN_SECONDS = 15
"""How long a stopped job may take before the stop is repeated."""


PLACE = FailpointPair("manager.place.commit")
WAITS = FailpointPair("manager.waits.commit")
PREPARE = FailpointPair("manager.launch.agent-prepare")
REGISTER = FailpointPair("manager.launch.nomad-register")
SUBMITTED = FailpointPair("manager.launch.commit")
UNDO = FailpointPair("manager.launch.nomad-stop")
REFUSED = FailpointPair("manager.refuse.commit")
STOP_REFUSED = FailpointPair("manager.refuse.nomad-stop")
STOP = FailpointPair("manager.stop.nomad-stop")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the scheduler acts on."""

    nomad: Nomad
    agents: Agents
    skeleton: Skeleton
    restarts: Restarts


class Scheduler:
    """The loop. :meth:`run` never ends by itself; one pass is :meth:`pass_once`."""

    def __init__(
        self,
        begin: Begin,
        moves: SessionMoves,
        cluster: Cluster,
        leadership: Leadership,
        interval_seconds: float,
    ) -> None:
        self._begin = begin
        self._moves = moves
        self._cluster = cluster
        self._leadership = leadership
        self._interval = interval_seconds
        self._stopped_at: dict[UUID, datetime] = {}
        self._told: dict[UUID, Obstacle] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Do a pass whenever something moved, and every few seconds anyway, while this process leads."""
        try:
            while True:
                self._moves.news.work.clear()
                if await self._leadership.hold():
                    await self._guarded_pass()
                await self._wait()
        finally:
            await self._leadership.release()

    async def _guarded_pass(self) -> None:
        try:
            with metrics.PASS_DURATION.time():
                await self.pass_once()
        except Exception:  # the loop outlives a pass that a bug or an outage broke; the next one starts from the record
            metrics.PASS_FAILURES.inc()
            log.exception("scheduler.pass_failed")
            await asyncio.sleep(self._interval)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._moves.news.work.wait()
        except TimeoutError:
            return

    async def pass_once(self) -> None:
        """Place, launch, restart and stop, once."""
        await self._place()
        await self._launch()
        await self._restart()
        await self._stop()

    async def _place(self) -> None:
        pending, snapshot = await self._snapshot()
        metrics.QUEUE_LENGTH.set(len(snapshot.pending))
        decided = plan(snapshot)
        for placement in decided.placements:
            if self._moves.clock() - snapshot.taken_at > PLAN_LIFETIME:
                log.warning("scheduler.plan_too_old", placements=len(decided.placements))
                return
            await self._record_placement(placement)
        await self._tell_waits(pending, decided.waits)

    async def _snapshot(self) -> tuple[dict[UUID, Session], Snapshot]:
        began = self._moves.clock()
        async with self._begin() as tx:
            pending = await sessions.list_by_status(tx, [SessionStatus.PENDING])
            known = await nodes.list_nodes(tx, status=ALIVE) if pending else []
            taken = await sessions.occupied_by_node(tx) if pending else {}
        views = tuple(
            NodeView(
                name=node.name,
                scaling_group=node.scaling_group,
                architecture=node.architecture,
                schedulable=node.schedulable,
                volumes=node.volumes,
                capacity=node.slots,
                free=node.slots - taken[node.name] if node.name in taken else node.slots,
            )
            for node in known
        )
        requests = tuple(_request(session, number) for number, session in enumerate(pending))
        snapshot = Snapshot(taken_at=began, nodes=views, pending=requests)
        return {session.id: session for session in pending}, snapshot

    async def _record_placement(self, placement: Placement) -> None:
        def move(session: Session, now: datetime) -> Session:
            return session.scheduled(dict(placement.nodes), now) if session.status is SessionStatus.PENDING else session

        metrics.PLACEMENTS.inc()
        with PLACE:
            await self._moves.apply(placement.session, move)

    async def _tell_waits(self, pending: dict[UUID, Session], waits: tuple[Wait, ...]) -> None:
        """Record why sessions wait, all that is new with one statement. Nobody is woken: nothing moved."""
        news = [wait for wait in waits if self._told.get(wait.session) != wait.obstacle]
        self._told = {wait.session: wait.obstacle for wait in waits}
        for wait in news:
            metrics.WAITS.labels(wait.obstacle.value).inc()
        waiting = [pending[wait.session].waiting(wait.obstacle.value, list(wait.about)) for wait in news]
        if waiting:
            with WAITS:
                async with self._begin() as tx:
                    await sessions.save_waits(tx, waiting)

    async def _launch(self) -> None:
        """Launch what is placed, but not on a node that is silent now: its sessions wait until it is back."""
        async with self._begin() as tx:
            placed = await sessions.list_by_status(tx, [SessionStatus.SCHEDULED])
            alive = {node.name: node for node in await nodes.list_nodes(tx, status=ALIVE)} if placed else {}
            ready = [session for session in placed if all(kernel.node in alive for kernel in session.kernels)]
            if not ready:
                return
            owners = await sessions.list_owners(tx, [session.id for session in ready])
            labels = await images.labels_by_reference(tx, [session.image for session in ready])

        async def launch(session: Session) -> None:
            of_image = labels.get((session.image, session.architecture), {})
            await self._launch_one(session, alive, Owner(*owners[session.id]), of_image)

        await self._each(ready, launch)

    async def _launch_one(self, session: Session, alive: dict[str, Node], owner: Owner, labels: dict[str, str]) -> None:
        skeleton = await self._cluster.skeleton.get()
        job = compile_job(session, {name: node.node_id for name, node in alive.items()}, skeleton)
        reason: str | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for kernel in session.kernels:
                    spec = compile_kernel(session, kernel, owner, labels)
                    group.create_task(self._prepare(_node_of(kernel, alive).url, spec))
                group.create_task(self._register(job))
        except* (JobRefusedError, SpecRefusedError) as refusals:
            reason = str(refusals.exceptions[0])
        if reason is not None:
            await self._refuse(session, reason)
            return
        with SUBMITTED:
            after = await self._moves.apply(session.id, _submitted)
        if after.is_dead or after.status is SessionStatus.TERMINATING:
            with UNDO:
                await self._cluster.nomad.stop(job["ID"])  # it was destroyed while Nomad was being told

    async def _prepare(self, url: str, spec: KernelSpec) -> None:
        with PREPARE:
            await self._cluster.agents.prepare(url, spec)

    async def _register(self, job: Job) -> None:
        with REGISTER:
            await self._cluster.nomad.register(job)

    async def _refuse(self, session: Session, reason: str) -> None:
        """End the session; what its agents prepared already is left to the sweep."""
        log.error("session.refused", session=str(session.id), reason=reason)
        with REFUSED:
            await self._moves.apply(session.id, lambda s, now: s.refused(reason, now))
        with STOP_REFUSED:
            await self._cluster.nomad.stop(job_id(session.id))

    async def _restart(self) -> None:
        """Go on with restarts that a process that died began."""
        async with self._begin() as tx:
            restarting = await sessions.list_by_status(tx, [SessionStatus.RESTARTING])
        await self._each(restarting, self._cluster.restarts.resume)

    async def _stop(self) -> None:
        async with self._begin() as tx:
            ending = await sessions.list_by_status(tx, [SessionStatus.TERMINATING])
        now = self._moves.clock()
        live = {session.id for session in ending}
        self._stopped_at = {s: at for s, at in self._stopped_at.items() if s in live}
        due = [
            session
            for session in ending
            if session.id not in self._stopped_at
            or (now - self._stopped_at[session.id]).total_seconds() > STOP_AGAIN_SECONDS
        ]
        await self._each(due, self._stop_one)

    async def _stop_one(self, session: Session) -> None:
        with STOP:
            await self._cluster.nomad.stop(job_id(session.id))
        self._stopped_at[session.id] = self._moves.clock()

    async def _each(self, items: Iterable[Session], act: Callable[[Session], Awaitable[None]]) -> None:
        """Act on each session, some at once; one that meets an outage stays as it is until the next pass."""

        async def guarded(session: Session) -> None:
            async with self._at_once:
                try:
                    await act(session)
                except* CaravanError as errors:
                    log.warning("session.not_moved", session=str(session.id), error=str(errors.exceptions[0]))
                except* Exception:  # one session must not keep the others; the sweep ends what never starts
                    log.exception("session.not_moved", session=str(session.id))

        async with asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(guarded(item))


def _submitted(session: Session, now: datetime) -> Session:
    """A kernel's start may have been told before: then the session is further already."""
    return session.submitted(now) if session.status is SessionStatus.SCHEDULED else session


def _request(session: Session, number: int) -> SessionRequest:
    return SessionRequest(
        id=session.id,
        sequence=number,
        priority=session.priority,
        type=session.type,
        scaling_group=session.scaling_group,
        architecture=session.architecture,
        volumes=frozenset(mount.volume for mount in session.mounts),
        cluster_mode=session.cluster_mode,
        access_key=session.access_key,
        domain=session.domain_name,
        project=session.project_id,
        kernels=tuple(KernelRequest(kernel.id, kernel.slots) for kernel in session.kernels),
    )


def _node_of(kernel: Kernel, alive: dict[str, Node]) -> Node:
    if kernel.node is None:
        raise ValueError(f"kernel {kernel.id} has no node")
    return alive[kernel.node]
