"""What users ask of sessions; each method is one thing, and one transaction."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import IntegrityError

from caravan_common.errors import (
    CaravanError,
    ForbiddenError,
    InsufficientPrivilegeError,
    InvalidParametersError,
    UnavailableError,
)
from caravan_common.failpoints import FailpointPair
from caravan_common.ids import job_id
from caravan_common.nomad.client import Nomad
from caravan_common.states import SessionType
from caravan_manager import audit
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.images import repository as images
from caravan_manager.images.model import Image, ImageNotFoundError, ImageReference
from caravan_manager.nodes import repository as nodes
from caravan_manager.nodes.agents import Agents, LogNotFoundError
from caravan_manager.nodes.model import ScalingGroup, ScalingGroupNotFoundError, usable
from caravan_manager.people import repository as people
from caravan_manager.people.model import Principal
from caravan_manager.quotas import repository as quotas
from caravan_manager.sessions import metrics, repository
from caravan_manager.sessions.graph import DependencyNode, dependency_tree
from caravan_manager.sessions.model import (
    Session,
    SessionAlreadyExistsError,
    SessionNotFoundError,
    TooManySessionsError,
)
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import set_or_after
from caravan_manager.sessions.repository import SessionFilter, SessionPage
from caravan_manager.sessions.request import SessionRequest, check_name, check_priority, new_session
from caravan_manager.sessions.restarts import Restarts
from caravan_manager.vfolders.service import VFoldersService

log = structlog.get_logger()

RESTART_SECONDS = 45.0
"""How long a caller waits for a restart at most; it goes on without them."""
MAX_GRAPH = 1000
"""How many sessions a graph of dependencies may have; what is beyond is left out."""
POLL_SECONDS = 5.0
"""How often a waiter looks at the database itself: news may be lost, the database is the truth."""


CREATE = FailpointPair("manager.create.commit")
RESTART = FailpointPair("manager.restart.commit")
DESTROY = FailpointPair("manager.destroy.commit")
STOP_NOW = FailpointPair("manager.destroy.nomad-stop")


Stays = Callable[[], bool]
"""Whether a caller still waits for the answer."""


def forever() -> bool:
    """Say that the caller stays."""
    return True


@dataclass(frozen=True, slots=True)
class CreatedSession:
    """A session that was made, or with ``created`` False one that was reused."""

    session: Session
    created: bool


class SessionsService:
    """Create, look at and end sessions."""

    def __init__(
        self,
        begin: Begin,
        moves: SessionMoves,
        vfolders: VFoldersService,
        agents: Agents,
        nomad: Nomad,
        clock: Callable[[], datetime],
        restarts: Restarts,
        *,
        only_superadmins_designate: bool = False,
    ) -> None:
        self._begin = begin
        self._moves = moves
        self._vfolders = vfolders
        self._agents = agents
        self._nomad = nomad
        self._clock = clock
        self._restarts = restarts
        self._only_superadmins_designate = only_superadmins_designate

    async def create(self, principal: Principal, request: SessionRequest) -> CreatedSession:
        """Put a session into the queue, or return the caller's live one of that name if reusing is asked for."""
        with metrics.counted_refusals():
            made = await self._create(principal, request)
        if made.created:
            self._moves.tell(None, made.session)
        return made

    async def _create(self, principal: Principal, request: SessionRequest) -> CreatedSession:
        try:
            with CREATE:
                async with self._begin() as tx:
                    existing = await repository.find_live_by_name(tx, principal.access_key, request.name)
                    if existing is not None:
                        return _reused(existing, request)
                    return CreatedSession(await self._enqueue(tx, principal, request), created=True)
        except IntegrityError as err:
            raise SessionAlreadyExistsError(f"somebody made a session {request.name} at the same moment") from err

    async def _enqueue(self, tx: Transaction, principal: Principal, request: SessionRequest) -> Session:
        session, parents = await self.draft(tx, principal, request, is_submitted=True)
        await repository.add(tx, session, parents)
        await _audit(principal, "session.create", session.id, {"name": session.name}, tx)
        return session

    async def draft(
        self, tx: Transaction, principal: Principal, request: SessionRequest, *, is_submitted: bool = False
    ) -> tuple[Session, list[UUID]]:
        """Return the session that a request would become and the IDs of what it depends on; nothing is written.

        Raises what refuses the request, limits of the queue included. Those are exact for one that is submitted: the
        keypair's other requests wait until the transaction ends. A dry run keeps nobody waiting.
        """
        limits = await quotas.get_queue_limits(tx, principal.access_key)
        limits.check_containers(request.cluster_size)
        project = await _project(tx, principal, request)
        scaling_group = await _scaling_group(tx, principal, project, request)
        if not principal.is_asked_for_by_admin:
            check_priority(request.priority, scaling_group.user_priority)
        if request.agents:
            await self._check_agents(tx, principal, request.agents, scaling_group.name)
        session = new_session(
            request,
            principal,
            project=project,
            scaling_group=scaling_group.name,
            image=await _image(tx, request),
            offered=await nodes.list_slots(tx),
            models=await nodes.list_models(tx) if request.models else frozenset(),
            mounts=await self._vfolders.resolve_mounts(tx, principal, request.mounts),
            now=self._clock(),
            new_id=uuid4,
        )
        parents = await _parents(tx, principal, request.dependencies)
        if limits.limit_the_queue:
            if is_submitted:
                await quotas.lock_queue(tx, principal.access_key)
            count, slots = await repository.sum_pending(tx, principal.access_key)
            limits.check_queue(count + 1, slots + session.requested_slots)
        return session, parents

    async def _check_agents(
        self, tx: Transaction, principal: Principal, agents: Sequence[str], scaling_group: str
    ) -> None:
        """Raise unless the caller may designate nodes, and these are in the scaling group."""
        if self._only_superadmins_designate and not principal.is_asked_for_by_superadmin:
            raise InsufficientPrivilegeError("You are not allowed to manually assign agents for your session.")
        found = await nodes.find_names(tx, agents, scaling_group)
        for agent in agents:
            if agent not in found:
                raise InvalidParametersError(f"No such agent: {agent}", agent=agent, scaling_group=scaling_group)

    async def wait_until_started(self, session_id: UUID, limit_seconds: float, stays: Stays = forever) -> Session:
        """Return the session as soon as it left the queue and its start-up, or as it is after ``limit_seconds``.

        Ends at the next look, too, when the caller does not stay.
        """
        session = await self._get(session_id)
        try:
            async with asyncio.timeout(limit_seconds), self._moves.news.following(session_id) as news:
                with metrics.WAITERS.track_inprogress():
                    while not session.has_settled and stays():
                        await set_or_after(news, POLL_SECONDS)
                        news.clear()
                        session = await self._get(session_id)
        except TimeoutError:
            pass
        return session

    async def one(self, principal: Principal, text: str) -> Session:
        """Return the session that the caller means by an ID, a name or its beginning.

        Raises SessionNotFoundError or TooManySessionsError.
        """
        found = await self.match(principal, text)
        if not found:
            raise SessionNotFoundError(f"Session (id={text}) does not exist.")
        if len(found) > 1:
            raise TooManySessionsError(matches=[_match(session) for session in found[:10]])
        return found[0]

    async def match(self, principal: Principal, text: str) -> list[Session]:
        """Return all sessions that a word may mean."""
        return await repository.find_matching(
            self._begin.reader, text, principal.access_key, anybody=principal.is_superadmin
        )

    async def list_page(
        self,
        principal: Principal,
        *,
        statuses: list[str] | None,
        access_key: str | None,
        domain: str | None,
        project: UUID | None,
        limit: int,
        offset: int,
        choice: Choice = EVERYTHING,
    ) -> SessionPage:
        """Return a page of sessions, newest first: everybody's for a superadmin, the domain's, or one's own."""
        if not principal.is_admin:
            if access_key not in {None, principal.access_key}:
                raise ForbiddenError("only administrators list other people's sessions")
            access_key = principal.access_key
        if not principal.is_superadmin:
            domain = principal.domain_name
        wanted = SessionFilter(access_key=access_key, domain=domain, project=project, statuses=statuses)
        return await repository.list_page(self._begin.reader, wanted, limit, offset, choice)

    async def by_id(self, principal: Principal, session_id: UUID) -> SessionPage:
        """Return one session with its owner's names. Raises SessionNotFoundError, also when it is not the caller's."""
        page = await repository.list_page(self._begin.reader, SessionFilter(session=session_id), 1, 0)
        if not page.sessions or not _may_see(principal, page.sessions[0]):
            raise SessionNotFoundError(f"Session (id={session_id}) does not exist.")
        return page

    async def count_active(self) -> int:
        """Return how many sessions are live, everybody's."""
        async with self._begin() as tx:
            return await repository.count_live(tx)

    async def live_counts(self, access_keys: list[str]) -> dict[str, int]:
        """Return how many live sessions each keypair has; one without any is absent."""
        async with self._begin() as tx:
            return await repository.count_live_by_keypair(tx, access_keys)

    async def rename(self, principal: Principal, text: str, name: str) -> Session:
        """Give a running session another name."""
        check_name(name)
        session = await self.one(principal, text)
        log_it = partial(_audit, principal, "session.rename", session.id, {"name": name})
        try:
            return await self._moves.apply(session.id, lambda s, _now: s.renamed(name), log_it)
        except IntegrityError as err:
            raise InvalidParametersError(f"you have a live session {name} already") from err

    async def restart(self, principal: Principal, text: str, stays: Stays = forever) -> Session:
        """Replace the containers of a running session; what lies in its scratch and virtual folders stays.

        Returns the session when it runs again, or as it is after RESTART_SECONDS or when the caller does not stay.
        Raises SessionNotRunningError.
        """
        session = await self._live(principal, text)
        log_it = partial(_audit, principal, "session.restart", session.id, {})
        with RESTART:
            recorded = await self._moves.apply(session.id, lambda s, now: s.restarting(now), log_it)
        try:
            await self._restarts.begin(recorded)
        except* CaravanError as errors:
            log.warning("restart.left_to_scheduler", session=str(session.id), error=str(errors.exceptions[0]))
        return await self.wait_until_started(session.id, RESTART_SECONDS, stays)

    async def change(self, principal: Principal, session_id: UUID, name: str | None, priority: int | None) -> Session:
        """Give a live session another name or priority; None keeps what it has. Only administrators may."""
        if not principal.is_admin:
            raise ForbiddenError("no permission to execute modify_compute_session")
        if name is not None:
            check_name(name)
        if priority is not None:
            check_priority(priority)
        page = await self.by_id(principal, session_id)
        log_it = partial(_audit, principal, "session.change", session_id, {"name": name, "priority": priority})
        try:
            return await self._moves.apply(page.sessions[0].id, lambda s, _now: s.changed(name, priority), log_it)
        except IntegrityError as err:
            raise InvalidParametersError(f"the owner has a live session {name} already") from err

    async def dependency_graph(self, principal: Principal, text: str) -> DependencyNode:
        """Return a session with all that it depends on, and what those depend on, at most MAX_GRAPH sessions."""
        root = await self.one(principal, text)
        async with self._begin() as tx:
            edges = await repository.list_ancestry(tx, root.id, MAX_GRAPH)
            found = await repository.list_by_id(tx, [root.id, *(parent for _, parent in edges)])
        return dependency_tree(root.id, edges, {session.id: session for session in found})

    async def dependencies(self, session_ids: Sequence[UUID]) -> tuple[dict[UUID, list[UUID]], SessionPage]:
        """Return the IDs of what each of the sessions depends on, and those sessions with their owners' names."""
        async with self._begin() as tx:
            found = await repository.list_parents(tx, session_ids)
        edges = {child: [parent.id for parent in parents] for child, parents in found.items()}
        wanted = list({parent for parents in edges.values() for parent in parents})
        parents = await repository.list_page(self._begin.reader, SessionFilter(ids=wanted), len(wanted), 0)
        return edges, parents

    async def destroy(self, principal: Principal, text: str, *, forced: bool) -> Session:
        """Ask for the end of a session: CANCELLED while it is in the queue, else TERMINATING.

        ``forced`` ends the record at once, whatever the node says; the sweep stops what this call could not.
        """
        return await self._destroy(principal, await self._live(principal, text), forced=forced)

    async def destroy_with_dependants(self, principal: Principal, text: str, *, forced: bool) -> list[Session]:
        """Ask for the end of all live sessions that depend on a session, at most MAX_GRAPH, and then of itself."""
        session = await self._live(principal, text)
        async with self._begin() as tx:
            dependants = await repository.list_live_dependants(tx, session.id, MAX_GRAPH)
        return [await self._destroy(principal, each, forced=forced) for each in (*dependants, session)]

    async def _live(self, principal: Principal, text: str) -> Session:
        session = await self.one(principal, text)
        if session.is_dead:
            raise SessionNotFoundError(f"Session (id={text}) does not exist.")
        return session

    async def _destroy(self, principal: Principal, session: Session, *, forced: bool) -> Session:
        reason = "force-terminated" if forced else "user-requested"

        def move(current: Session, now: datetime) -> Session:
            ended = current.destroyed(reason, now)
            return ended.vanished(reason, now) if forced else ended

        log_it = partial(_audit, principal, "session.destroy", session.id, {"forced": forced})
        with DESTROY:
            ended = await self._moves.apply(session.id, move, log_it)
        if forced:
            await self._stop_now(session.id)
        return ended

    async def _stop_now(self, session_id: UUID) -> None:
        try:
            with STOP_NOW:
                await self._nomad.stop(job_id(session_id))
        except UnavailableError as err:
            log.warning("session.left_to_sweep", session=str(session_id), error=str(err))

    async def logs(self, principal: Principal, text: str, kernel: UUID | None) -> bytes:
        """Return the log of a session's main kernel, or of another of its kernels. Raises LogNotFoundError."""
        session = await self.one(principal, text)
        wanted = session.main_kernel if kernel is None else session.kernel(kernel)
        if wanted is None or wanted.node is None:
            raise LogNotFoundError(f"session {session.name} has no log yet")
        async with self._begin() as tx:
            found = await nodes.list_nodes(tx, name=wanted.node)
        if not found:
            raise LogNotFoundError(f"node {wanted.node} is gone")
        return await self._agents.logs(found[0].url, wanted.id)

    async def task_logs(self, principal: Principal, text: str) -> bytes:
        """Return the log of a kernel by its ID, or of a session's main kernel. Raises LogNotFoundError."""
        async with self._begin() as tx:
            found = await repository.find_kernel(tx, text)
        if found is None:
            return await self.logs(principal, text, None)
        return await self.logs(principal, str(found.session_id), found.id)

    async def _get(self, session_id: UUID) -> Session:
        async with self._begin() as tx:
            return await repository.get(tx, session_id)


async def _audit(principal: Principal, action: str, session: UUID, facts: dict[str, object], tx: Transaction) -> None:
    await audit.record(tx, principal, action, "session", str(session), facts)


def _reused(existing: Session, request: SessionRequest) -> CreatedSession:
    wanted = ImageReference.parse(request.image)
    if not request.reuse or ImageReference.parse(existing.image) != wanted:
        raise SessionAlreadyExistsError(existingSessionId=str(existing.id))
    return CreatedSession(existing, created=False)


async def _parents(tx: Transaction, principal: Principal, words: Sequence[str]) -> list[UUID]:
    """Return the caller's sessions of these IDs or names, each once; dead ones too."""
    found = await repository.find_each(tx, principal.access_key, words) if words else {}
    for word in words:
        if word not in found:
            raise InvalidParametersError("Unknown session ID or name in the dependency list", session_ref=word)
    return list(dict.fromkeys(found[word] for word in words))


async def _project(tx: Transaction, principal: Principal, request: SessionRequest) -> UUID:
    if request.domain != principal.domain_name:
        raise InvalidParametersError("You can only set the domain to your domain.")
    found = await people.list_projects(
        tx, domain=principal.domain_name, member=principal.user_id, name=request.project, is_active=True
    )
    if not found:
        raise InvalidParametersError("Invalid group", project=request.project)
    return found[0].id


async def _scaling_group(tx: Transaction, principal: Principal, project: UUID, request: SessionRequest) -> ScalingGroup:
    name, kind = request.scaling_group, request.type
    guests = usable(principal.domain_name, [project], principal.access_key)
    found = await nodes.list_scaling_groups(tx, name=name, open_to=guests, is_active=True)
    for group in found:
        if group.takes(kind):
            return group
    wanted = f"the scaling group '{name}'"
    if any(group.is_public or kind is SessionType.SYSTEM for group in found):
        which = "No scaling groups accept" if name is None else f"{wanted} does not accept"
        raise ScalingGroupNotFoundError(f"{which} the session type '{kind.value}'.")
    if name is None:
        raise ScalingGroupNotFoundError("You have no scaling groups allowed to use.")
    raise ScalingGroupNotFoundError(f"{wanted} does not exist or you do not have access to {wanted}.")


async def _image(tx: Transaction, request: SessionRequest) -> Image:
    found = await images.find(tx, ImageReference.parse(request.image), request.image, request.architecture)
    if found is None:
        raise ImageNotFoundError(f"Unknown image reference: {json.dumps(request.image)} for {request.architecture}")
    return found


def _may_see(principal: Principal, session: Session) -> bool:
    if principal.is_superadmin or session.user_id == principal.user_id:
        return True
    return principal.is_admin and session.domain_name == principal.domain_name


def _match(session: Session) -> dict[str, str]:
    return {
        "id": str(session.id),
        "name": session.name,
        "status": session.status.value,
        "created_at": session.created_at.isoformat(),
    }
