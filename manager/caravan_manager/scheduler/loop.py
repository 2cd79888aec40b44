"""Carries out plans: place what waits, launch what is placed, stop what is to end. Only the leader does.

Each step reads what the database says, acts idempotently outside any transaction, and records with a guard; a process
may die between any two statements, and the next pass goes on from the record.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

import structlog

from caravan_common.consul.leader import Leader
from caravan_common.errors import ConflictError, UnavailableError
from caravan_common.failpoints import FailpointPair
from caravan_common.ids import job_id
from caravan_common.nomad.client import Job, JobRefusedError, Nomad
from caravan_common.nomad.ports import Ports
from caravan_common.service import to_its_end
from caravan_common.states import NodeStatus, SessionStatus, SessionType
from caravan_common.wire.agent import KernelSpec, Release
from caravan_manager.compiler.job import compile_job
from caravan_manager.compiler.kernel import Owner, compile_kernel
from caravan_manager.compiler.meeting import compile_release
from caravan_manager.compiler.skeleton import Skeleton
from caravan_manager.db.engine import Begin
from caravan_manager.images import repository as images
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents, SpecRefusedError
from caravan_manager.nodes.model import Node
from caravan_manager.scheduler import metrics
from caravan_manager.scheduler.acts import Acts
from caravan_manager.scheduler.decisions.log import Record
from caravan_manager.scheduler.gauges import Gauges
from caravan_manager.scheduler.past import PastReader
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.reading import Waiting, read_snapshot
from caravan_manager.scheduler.reasons import checks_of, checks_of_end, status_info
from caravan_manager.scheduler.snapshot import CHECKS, Cancellation, Placement, Preemption, PreemptionMode, Wait
from caravan_manager.sessions import repository as sessions
from caravan_manager.sessions.model import DEVICE_LOST, NODE_LOST, VICTIMS, Kernel, Session
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.restarts import Restarts

log = structlog.get_logger()

ALIVE = NodeStatus.ALIVE.value
LONGEST_PLAN = timedelta(seconds=20)
"""How long it may take to make a plan: by then no other process can have led and have given the leadership back."""
PLAN_LIFETIME = timedelta(seconds=5)
"""How long a plan may be carried out: well below the time after which another process may lead."""
FIRST_TURN = timedelta(minutes=2)
"""How long a session goes before others of its priority when others are ended for it: their containers take a while."""
STOP_AGAIN_SECONDS = 15
"""How long a stopped job may take before the stop is repeated."""
DRAIN_SECONDS = 3
"""How long a process that stops goes on with what it began."""


PLACE = FailpointPair("manager.place.commit")
WAITS = FailpointPair("manager.waits.commit")
CANCEL = FailpointPair("manager.cancel.commit")
PROMISE = FailpointPair("manager.promise.commit")
PREEMPT = FailpointPair("manager.preempt.commit")
REQUEUE_STOP = FailpointPair("manager.requeue.nomad-stop")
REQUEUE = FailpointPair("manager.requeue.commit")
TIME_OUT = FailpointPair("manager.time-out.commit")
PREPARE = FailpointPair("manager.launch.agent-prepare")
REGISTER = FailpointPair("manager.launch.nomad-register")
SUBMITTED = FailpointPair("manager.launch.commit")
UNDO = FailpointPair("manager.launch.nomad-stop")
REFUSED = FailpointPair("manager.refuse.commit")
STOP_REFUSED = FailpointPair("manager.refuse.nomad-stop")
RELEASE = FailpointPair("manager.release.agent-release")
RELEASED = FailpointPair("manager.release.commit")
WARN = FailpointPair("manager.warn.nomad-signal")
STOP = FailpointPair("manager.stop.nomad-stop")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the scheduler acts on."""

    nomad: Nomad
    agents: Agents
    skeleton: Skeleton
    restarts: Restarts


class NotLeadingError(UnavailableError):
    """Another process may lead by now, and what was decided here may be out of date."""


class SessionMovedError(ConflictError):
    """Somebody destroyed the session, or it was placed anew, while its launch waited."""


class Scheduler:
    """The loop. :meth:`run` never ends by itself; one pass is :meth:`pass_once`, and what it began goes on beside."""

    def __init__(
        self,
        begin: Begin,
        moves: SessionMoves,
        cluster: Cluster,
        leadership: Leader,
        interval_seconds: float,
        record: Record = lambda _snapshot, _decided: None,
    ) -> None:
        self._begin = begin
        self._moves = moves
        self._cluster = cluster
        self._leadership = leadership
        self._interval = interval_seconds
        self._record = record
        self._gauges = Gauges()
        self._stopped_at: dict[UUID, datetime] = {}
        self._warned: set[tuple[UUID, int]] = set()
        self._told: dict[UUID, tuple[object, ...]] = {}
        self._past = PastReader()
        self._acts = Acts(moves.news.work.set)

    async def run(self) -> None:
        """Do a pass whenever something moved, and every few seconds anyway, while this process leads."""
        try:
            while True:
                self._moves.news.work.clear()
                if await self._leadership.hold():
                    await self._guarded_pass()
                    await self._wait()
                else:
                    self._gauges.forget()
                    await self._acts.cancel()
                    await asyncio.sleep(self._interval)  # another leads and is woken; this one only asks now and then
        finally:
            await to_its_end(self._stop_leading())

    async def _stop_leading(self) -> None:
        await self._acts.drain(DRAIN_SECONDS)
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
        """Place and time out once; begin to launch, to release, to restart and to stop."""
        await self._place()
        await self._launch()
        await self._release()
        await self._restart()
        await self._time_out()
        await self._stop()

    async def settled(self) -> None:
        """Return when what the passes began is over."""
        await self._acts.settled()

    async def _place(self) -> None:
        began = self._moves.clock()
        async with self._begin() as tx:
            pending, snapshot = await read_snapshot(tx, began, self._past)
            idle = None if pending else await self._gauges.read_if_due(tx, began)
        decided = await asyncio.to_thread(plan, snapshot, find_plugins())  # a long queue must not hold up the API
        for trouble in decided.troubles:
            metrics.PLUGIN_FAILURES.labels(trouble.plugin).inc()
            log.error("scheduler.plugin_failed", plugin=trouble.plugin, error=trouble.error)
        planned = self._moves.clock()
        if planned - began > LONGEST_PLAN or not await self._leadership.hold():
            log.warning("scheduler.plan_too_old", began=began.isoformat())
            return
        self._record(snapshot, decided)
        self._gauges.show(snapshot, decided, idle)
        for cancellation in decided.cancellations:
            await self._record_cancellation(cancellation)
        for placement in decided.placements:
            if self._is_too_old(planned):
                break
            await self._record_placement(placement)
        await self._preempt(pending, decided.preemptions, planned)
        await self._tell_waits(pending, decided.waits)

    def _is_too_old(self, planned: datetime) -> bool:
        """Say whether another process may lead by now and have made a plan of its own."""
        if self._moves.clock() - planned <= PLAN_LIFETIME:
            return False
        log.warning("scheduler.plan_too_old", planned=planned.isoformat())
        return True

    async def _record_placement(self, placement: Placement) -> None:
        def move(session: Session, now: datetime) -> Session:
            return session.scheduled(dict(placement.seats), now) if session.status is SessionStatus.PENDING else session

        metrics.PLACEMENTS.inc()
        with PLACE:
            await self._moves.apply(placement.session, move)

    async def _record_cancellation(self, end: Cancellation) -> None:
        metrics.CANCELLATIONS.labels(end.reason.value).inc()
        with CANCEL:
            await self._moves.apply(end.session, lambda s, now: s.cancelled(end.reason.value, checks_of_end(end), now))

    async def _preempt(self, pending: Waiting, preemptions: Sequence[Preemption], planned: datetime) -> None:
        """End sessions for others. Before, it is recorded that these go first: nobody else is to have what is freed."""
        for wanted, chosen in groupby(preemptions, key=lambda preemption: preemption.session):
            if self._is_too_old(planned):
                return
            victims = list(chosen)
            until = self._moves.clock() + max(one.grace for one in victims) + FIRST_TURN
            pending[wanted] = pending[wanted].promised([one.victim for one in victims], until)
            with PROMISE:
                after = await self._moves.apply(wanted, partial(_promised, pending[wanted].status_data[VICTIMS]))
            if after.status is SessionStatus.PENDING:
                for preemption in victims:
                    await self._record_preemption(preemption)

    async def _record_preemption(self, preemption: Preemption) -> None:
        def move(session: Session, now: datetime) -> Session:
            again = preemption.mode is PreemptionMode.RESCHEDULE
            return session.preempted(preemption.session, again, preemption.attempt, now, preemption.grace)

        metrics.PREEMPTIONS.labels(preemption.mode.value).inc()
        log.info("session.preempted", session=str(preemption.victim), by=str(preemption.session))
        with PREEMPT:
            await self._moves.apply(preemption.victim, move)

    async def _tell_waits(self, pending: Waiting, waits: tuple[Wait, ...]) -> None:
        """Record why sessions wait, all that is new with one statement. Nobody is woken: nothing moved."""
        told = {wait.session: _told_as(wait) for wait in waits}
        news = [wait for wait in waits if self._told.get(wait.session) != told[wait.session]]
        for wait in news:
            metrics.WAITS.labels(wait.obstacle.value).inc()
        now = self._moves.clock()
        waiting = [pending[wait.session].waiting(status_info(wait), checks_of(wait), now) for wait in news]
        if waiting:
            with WAITS:
                async with self._begin() as tx:
                    await sessions.save_waits(tx, waiting)
        self._told = told

    async def _launch(self) -> None:
        """Launch what is placed; what is placed on a node that is silent now, or on a device that is ill, goes back
        into the queue, as a gang that lost a rank does.
        """
        async with self._begin() as tx:
            placed = await sessions.list_by_status(tx, [SessionStatus.SCHEDULED])
            alive = {node.name: node for node in await nodes.list_nodes(tx, status=ALIVE)} if placed else {}
            ready = [session for session in placed if _is_on(alive, session)]
            if not placed:
                return
            owners = await sessions.list_owners(tx, [session.id for session in ready])
            labels = await images.labels_by_reference(tx, [session.image for session in ready])

        async def launch(session: Session) -> None:
            of_image = labels.get((session.image, session.architecture), {})
            await self._launch_one(session, alive, Owner(*owners[session.id]), of_image)

        self._acts.begin("start", ready, launch)
        self._acts.begin("start", [s for s in placed if not _is_on(alive, s)], partial(self._requeue, alive))

    async def _requeue(self, alive: dict[str, Node], session: Session) -> None:
        """Put a session back whose node fell silent, or device ill, before the launch, or a gang that lost a rank.

        Nomad may know the job nevertheless, so it is stopped first. The node's agent learns at the next sweep that the
        old kernels are nobody's.
        """
        await self._must_be_due(session)
        reason = session.status_info if session.is_broken else _what_is_lost(alive, session)
        log.warning("session.requeued", session=str(session.id), attempt=session.attempt, reason=reason)
        with REQUEUE_STOP:
            await self._cluster.nomad.stop(job_id(session.id))
        new_ids = [uuid4() for _ in session.kernels]
        with REQUEUE:
            await self._moves.apply(session.id, lambda s, now: s.requeued(reason, new_ids, now))

    async def _launch_one(self, session: Session, alive: dict[str, Node], owner: Owner, labels: dict[str, str]) -> None:
        skeleton = await self._cluster.skeleton.get()
        job = compile_job(session, alive, skeleton)
        reason: str | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for kernel in session.kernels:
                    spec = compile_kernel(session, kernel, owner, labels)
                    group.create_task(self._prepare(_node_of(kernel, alive).url, spec))
            # Only now: Docker must find folders and network, and nothing else waits for them.
            await self._register(session, job)
        except* (JobRefusedError, SpecRefusedError) as refusals:
            first = refusals.exceptions[0]
            reason = str(first)
            by, kind = ("agent", first.reason) if isinstance(first, SpecRefusedError) else ("nomad", "invalid")
            metrics.REFUSALS.labels(by, kind).inc()
        if reason is not None:
            await self._refuse(session, reason)
            return
        with SUBMITTED:
            after = await self._moves.apply(session.id, partial(_submitted, session.attempt))
        if after.is_dead or after.status is SessionStatus.TERMINATING:
            with UNDO:
                await self._cluster.nomad.stop(job["ID"])  # it was destroyed while Nomad was being told

    async def _prepare(self, url: str, spec: KernelSpec) -> None:
        with PREPARE:
            await self._cluster.agents.prepare(url, spec)

    async def _register(self, session: Session, job: Job) -> None:
        await self._must_be_due(session)  # preparing took its time
        with REGISTER:
            await self._cluster.nomad.register(job)

    async def _must_be_due(self, session: Session) -> None:
        """Raise SessionMovedError or NotLeadingError unless the session still waits for its launch, and for ours."""
        if not await self._leadership.hold():
            raise NotLeadingError("another process may lead by now")
        async with self._begin() as tx:
            current = await sessions.get(tx, session.id)
        is_where_it_was = current.attempt == session.attempt and current.is_broken == session.is_broken
        if current.status is not SessionStatus.SCHEDULED or not is_where_it_was:
            raise SessionMovedError(f"it is {current.status.value} by now")

    async def _refuse(self, session: Session, reason: str) -> None:
        """End the session, if it is where it was; what its agents prepared already is left to the sweep."""
        log.error("session.refused", session=str(session.id), reason=reason)
        with REFUSED:
            after = await self._moves.apply(session.id, partial(_refused, session.attempt, reason))
        if after.status is SessionStatus.ERROR:
            with STOP_REFUSED:
                await self._cluster.nomad.stop(job_id(session.id))

    async def _release(self) -> None:
        """Let the gangs begin whose kernels are all up. A process that dies over it leaves it to the next pass."""
        async with self._begin() as tx:
            up = await sessions.list_by_status(tx, [SessionStatus.CREATING])
            urls = {node.name: node.url for node in await nodes.list_nodes(tx)} if up else {}

        async def release(session: Session) -> None:
            ports: Ports = await self._cluster.nomad.ports(job_id(session.id)) if session.spans_nodes else {}
            async with asyncio.TaskGroup() as group:
                for kernel in session.kernels:
                    if not kernel.is_dead and kernel.node is not None:
                        told = compile_release(session, kernel, ports)
                        group.create_task(self._let_begin(urls[kernel.node], kernel.id, told))
            with RELEASED:
                await self._moves.apply(session.id, lambda s, now: s.released(session.attempt, now))

        self._acts.begin("release", up, release)

    async def _let_begin(self, url: str, kernel: UUID, told: Release) -> None:
        with RELEASE:
            await self._cluster.agents.release(url, kernel, told)

    async def _restart(self) -> None:
        """Go on with restarts that a process that died began."""
        async with self._begin() as tx:
            restarting = await sessions.list_by_status(tx, [SessionStatus.RESTARTING])
        self._acts.begin("restart", restarting, self._cluster.restarts.resume)

    async def _time_out(self) -> None:
        """Begin the end of batch sessions that have run for as long as they may."""
        async with self._begin() as tx:
            overdue = await sessions.list_overdue(tx, self._moves.clock())
        for session in overdue:
            with TIME_OUT:
                await self._moves.apply(session, lambda s, now: s.timed_out(now))

    async def _stop(self) -> None:
        async with self._begin() as tx:
            ending = await sessions.list_by_status(tx, [SessionStatus.TERMINATING])
        now = self._moves.clock()
        live = {session.id for session in ending}
        self._stopped_at = {s: at for s, at in self._stopped_at.items() if s in live}
        self._warned = {(s, attempt) for s, attempt in self._warned if s in live}
        again = now - timedelta(seconds=STOP_AGAIN_SECONDS)
        due: list[Session] = []
        warned: list[Session] = []
        for session in ending:
            if (session.goes_on_until or now) > now:
                if session.type is SessionType.BATCH and (session.id, session.attempt) not in self._warned:
                    warned.append(session)
            elif session.id not in self._stopped_at or self._stopped_at[session.id] < again:
                due.append(session)
        self._acts.begin("stop", due, self._stop_one)
        self._acts.begin("warn", warned, self._warn_one)

    async def _stop_one(self, session: Session) -> None:
        if not await self._ends_still(session):
            return
        with STOP:
            await self._cluster.nomad.stop(job_id(session.id))
        self._stopped_at[session.id] = self._moves.clock()

    async def _warn_one(self, session: Session) -> None:
        """Tell the program of a batch session that its time is over; who leads anew may tell it once more."""
        if not await self._ends_still(session):
            return
        with WARN:
            main = session.group_of(session.main_kernel)
            was_told = await self._cluster.nomad.signal(job_id(session.id), main, "SIGTERM")
        if was_told:
            self._warned.add((session.id, session.attempt))

    async def _ends_still(self, session: Session) -> bool:
        """Say whether it has not ended yet: it might be placed anew, and its next job have the same name."""
        async with self._begin() as tx:
            current = await sessions.get(tx, session.id)
        return current.status is SessionStatus.TERMINATING and current.attempt == session.attempt


def _submitted(attempt: int, session: Session, now: datetime) -> Session:
    """A kernel's start may have been told before: then the session is further already, or it was placed anew."""
    is_due = session.status is SessionStatus.SCHEDULED and session.attempt == attempt and not session.is_broken
    return session.submitted(now) if is_due else session


def _told_as(wait: Wait) -> tuple[object, ...]:
    """What must change before a wait is told again: for checks the names as well, which among nodes change often."""
    return tuple(reason if reason.obstacle in CHECKS else reason.obstacle for reason in wait.reasons)


def _promised(told: dict[str, Any], session: Session, now: datetime) -> Session:
    return session.promised(told)


def _refused(attempt: int, reason: str, session: Session, now: datetime) -> Session:
    """Another attempt, or one that runs by now, is not what was refused."""
    was_meant = session.status is SessionStatus.SCHEDULED and session.attempt == attempt and not session.is_broken
    return session.refused(reason, now) if was_meant else session


def _is_on(alive: dict[str, Node], session: Session) -> bool:
    """Say whether the session can be launched where it is placed: it is whole, and its nodes and devices are well."""
    return not session.is_broken and all(
        kernel.node in alive and _has_devices(alive[kernel.node], kernel) for kernel in session.kernels
    )


def _has_devices(node: Node, kernel: Kernel) -> bool:
    found = [node.device(held.slot, held.id) for held in kernel.devices]
    return all(device is not None and device.healthy for device in found)


def _what_is_lost(alive: dict[str, Node], session: Session) -> str:
    """Say why the session cannot be launched where it is placed."""
    return DEVICE_LOST if all(kernel.node in alive for kernel in session.kernels) else NODE_LOST


def _node_of(kernel: Kernel, alive: dict[str, Node]) -> Node:
    if kernel.node is None:
        raise ValueError(f"kernel {kernel.id} has no node")
    return alive[kernel.node]
