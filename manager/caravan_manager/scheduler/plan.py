"""Pick the sessions that start now, their nodes and devices. A pure function of a snapshot: no clock, no database.

Order: priority bands from high to low; in a band as the scaling group's sequencer says. A session for which there is
no room now has room kept for it, and others start around it as far as they do not delay it. One that can never fit, or
waits for its time, for other sessions or for a quota, keeps nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

from caravan_manager.scheduler.accounts import Accounts
from caravan_manager.scheduler.garbage import no_collection
from caravan_manager.scheduler.group import GroupPass
from caravan_manager.scheduler.guard import Askers, GuardedSelector, GuardedSequencer
from caravan_manager.scheduler.plugins import DEFAULT_SELECTOR, DEFAULT_SEQUENCER, Plugins
from caravan_manager.scheduler.selectors.selector import MakeSelector
from caravan_manager.scheduler.sequencers.sequencer import Past, Sequencer, Turns, Usage, add_up, capacity_of
from caravan_manager.scheduler.snapshot import (
    Cancellation,
    EndReason,
    GroupView,
    NodeView,
    Obstacle,
    Placement,
    Plan,
    Preemption,
    Reason,
    Reserved,
    Snapshot,
    Trouble,
    Wait,
)
from caravan_manager.sessions.model import Parent
from caravan_manager.sessions.queue import PendingSession, PlacedSession


@no_collection()
def plan(snapshot: Snapshot, plugins: Plugins) -> Plan:
    """Decide one pass."""
    rules = {group.name: group for group in snapshot.groups}
    cancellations = {
        end.session: end
        for session in snapshot.pending
        if (end := _end(session, rules.get(session.scaling_group), snapshot.taken_at)) is not None
    }
    waiting: defaultdict[str, list[PendingSession]] = defaultdict(list)
    for session in snapshot.pending:
        if session.id not in cancellations:
            waiting[session.scaling_group].append(session)
    decided = _Pass(snapshot, plugins)
    for name in sorted(waiting):
        decided.plan_group(rules.get(name) or GroupView(name), waiting[name])
    return Plan(
        placements=tuple(decided.placements),
        waits=tuple(decided.waits),
        cancellations=tuple(sorted(cancellations.values(), key=lambda end: end.session)),
        reserved=tuple(decided.reserved),
        troubles=tuple(decided.troubles),
        preemptions=tuple(decided.preemptions),
    )


def _end(session: PendingSession, group: GroupView | None, now: datetime) -> Cancellation | None:
    """Say whether a session can never start, or has waited for too long since it came or since its time came."""
    if failed := [parent for parent in session.parents if parent.has_failed]:
        return Cancellation(session.id, EndReason.DEPENDENCY_FAILED, _named(failed))
    if group is None or group.pending_timeout is None:
        return None
    began = max(session.pending_since, session.starts_at or session.pending_since)
    if now - began < group.pending_timeout:
        return None
    return Cancellation(session.id, EndReason.PENDING_TIMEOUT, (group.name,))


def _named(parents: Iterable[Parent]) -> tuple[str, ...]:
    return tuple(f"{parent.name} ({parent.id})" for parent in sorted(parents, key=lambda p: (p.name, p.id)))


class _Pass:
    """What is decided so far. Quotas hold over all scaling groups."""

    def __init__(self, snapshot: Snapshot, plugins: Plugins) -> None:
        self.placements: list[Placement] = []
        self.waits: list[Wait] = []
        self.reserved: list[Reserved] = []
        self.troubles: list[Trouble] = []
        self.preemptions: list[Preemption] = []
        self._snapshot = snapshot
        self._plugins = plugins
        self._askers = Askers(plugins.resting)
        self._accounts = Accounts(snapshot.quotas, snapshot.placed, snapshot.nodes)
        self._past = dict(snapshot.past)
        self._nodes: defaultdict[str, list[NodeView]] = defaultdict(list)
        self._placed: defaultdict[str, list[PlacedSession]] = defaultdict(list)
        self._others: defaultdict[str, list[PlacedSession]] = defaultdict(list)
        self._sort(snapshot)

    def _sort(self, snapshot: Snapshot) -> None:
        """Find of each scaling group the nodes, its sessions, and those of other groups that hold some of its nodes."""
        group_of = {node.name: node.scaling_group for node in snapshot.nodes}
        for node in snapshot.nodes:
            self._nodes[node.scaling_group].append(node)
        for session in snapshot.placed:
            self._placed[session.scaling_group].append(session)
            there = {group_of[kernel.node] for kernel in session.kernels if kernel.node in group_of}
            for group in there - {session.scaling_group}:
                self._others[group].append(session)

    def plan_group(self, group: GroupView, pending: Sequence[PendingSession]) -> None:
        """Give the sessions of one scaling group their turns, the highest priority first."""
        nodes = self._nodes[group.name]
        placed, others = self._placed[group.name], self._others[group.name]
        room = GroupPass(nodes, placed, self._selector(group), self._snapshot.taken_at, pending, group, others)
        sequencer = self._sequencer(group)
        capacity, now = capacity_of(node.capacity for node in nodes), _held(placed)
        for _, band in groupby(sorted(pending, key=lambda s: -s.priority), key=lambda s: s.priority):
            promised, rest = self._with_a_promise(band)
            for one in promised:
                self._turn(one, room, now)
            turns = sequencer.turns(rest, Usage(capacity, now, self._past.get(group.name, Past())), group.options)
            session = next(turns, None)
            while session is not None:
                session = _next(turns, self._turn(session, room, now))
        self.reserved += room.reserved
        self.preemptions += room.preemptions

    def _with_a_promise(self, band: Iterable[PendingSession]) -> tuple[list[PendingSession], list[PendingSession]]:
        """Return the sessions for which others were ended, and the rest."""
        first: list[PendingSession] = []
        others: list[PendingSession] = []
        for session in band:
            (first if session.goes_first(self._snapshot.taken_at) else others).append(session)
        return sorted(first, key=lambda s: s.sequence), others

    def _turn(self, session: PendingSession, room: GroupPass, now: defaultdict[UUID, dict[str, float]]) -> bool:
        """Start a session, and add it to what its user has now, or say why it waits."""
        if failed := self._failed_checks(session):
            self.waits.append(Wait(session.id, failed))
            return False
        outcome = room.place(self._accounts.narrowed(session) or session)
        if isinstance(outcome, Reason):
            self.waits.append(Wait(session.id, (*self._accounts.closed(session), outcome)))
            return False
        self.placements.append(outcome)
        self._accounts.start(session, outcome.seats)
        add_up(now[session.tenant.user], session.slots)
        return True

    def _failed_checks(self, session: PendingSession) -> tuple[Reason, ...]:
        """Return what keeps the session back whatever the nodes have left, in the order of CHECKS."""
        failed: list[Reason] = []
        if session.starts_at is not None and self._snapshot.taken_at < session.starts_at:
            failed.append(Reason(Obstacle.NOT_YET, (session.starts_at.isoformat(),)))
        if unfinished := [parent for parent in session.parents if not parent.has_succeeded]:
            failed.append(Reason(Obstacle.DEPENDENCIES, _named(unfinished)))
        return (*failed, *self._accounts.exceeded(session))

    def _selector(self, group: GroupView) -> MakeSelector:
        chosen, default = self._plugins.selectors.get(group.selector), self._plugins.selectors[DEFAULT_SELECTOR]
        if chosen is None:
            self.troubles.append(Trouble(group.selector, "there is no such selector"))
        make = chosen or default
        if make is default:  # nobody could answer for it
            return make
        report, plugin = self.troubles.append, self._askers.of("selector", group.selector, make)
        return lambda room: GuardedSelector(group.selector, make, default, room, report, plugin)

    def _sequencer(self, group: GroupView) -> Sequencer:
        chosen, default = self._plugins.sequencers.get(group.sequencer), self._plugins.sequencers[DEFAULT_SEQUENCER]
        if chosen is None:
            self.troubles.append(Trouble(group.sequencer, "there is no such scheduler"))
        plugin = self._askers.of("scheduler", group.sequencer, chosen or default)
        return GuardedSequencer(group.sequencer, chosen or default, default, self.troubles.append, plugin)


def _next(turns: Turns, started: bool) -> PendingSession | None:
    try:
        return turns.send(started)
    except StopIteration:
        return None


def _held(placed: Iterable[PlacedSession]) -> defaultdict[UUID, dict[str, float]]:
    held: defaultdict[UUID, dict[str, float]] = defaultdict(dict)
    for session in placed:
        add_up(held[session.tenant.user], session.slots)
    return held
