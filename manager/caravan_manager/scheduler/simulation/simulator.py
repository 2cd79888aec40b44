"""Lets the sessions of a trace come, run and end, and asks the real planner whenever something moved. Pure.

Time jumps from event to event. A session that starts runs for as long as the trace says, or until its limit.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import count
from uuid import UUID

from caravan_manager.scheduler.past import half_life_of
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins
from caravan_manager.scheduler.sequencers.sequencer import needs_past
from caravan_manager.scheduler.simulation.past import PastUse
from caravan_manager.scheduler.simulation.trace import Trace
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    Placement,
    Plan,
    Preemption,
    PreemptionMode,
    Snapshot,
)
from caravan_manager.sessions.queue import PendingSession, PlacedSession

Decide = Callable[[Snapshot, Plugins], Plan]
"""What makes a plan: the planner, or what it is compared with."""
Progress = Callable[[int, int], object]
"""Is told after each step how many sessions have left the queue, and of how many."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run is about beside the trace. Passes are at least ``every`` apart; 0 is one for each event."""

    name: str
    nodes: tuple[NodeView, ...]
    groups: tuple[GroupView, ...]
    every: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a session: when it began and ended, if it did."""

    session: PendingSession
    began: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A simulation that is over: the outcomes in the order of arrival."""

    rules: Rules
    outcomes: tuple[Outcome, ...]
    passes: int


class _Kind(IntEnum):
    """What happens; of one moment ends come first. GIVE_UP is the end of a session that others ended."""

    END = 0
    GIVE_UP = 1
    ARRIVE = 2
    LOOK = 3


def simulate(
    trace: Trace,
    rules: Rules,
    plugins: Plugins,
    progress: Progress = lambda _done, _all: None,
    decide: Decide = plan,
) -> Run:
    """Run a trace to its end."""
    simulation = _Simulation(trace, rules, plugins, decide)
    while simulation.step():
        progress(simulation.decided, len(trace.arrivals))
    return simulation.run()


class _Simulation:
    def __init__(self, trace: Trace, rules: Rules, plugins: Plugins, decide: Decide) -> None:
        self.decided = 0
        self._decide = decide
        self._trace = trace
        self._rules = rules
        self._plugins = plugins
        self._order = count()
        self._events: list[tuple[datetime, _Kind, int, UUID | None]] = []
        self._arrivals = {arrival.session.id: arrival for arrival in trace.arrivals}
        self._unfinished = set(self._arrivals)
        self._pending: dict[UUID, PendingSession] = {}
        self._placed = {held.session.id: held.session for held in trace.held}
        self._outcomes = {id_: Outcome(arrival.session) for id_, arrival in self._arrivals.items()}
        self._passed_at: datetime | None = None
        self._passes = 0
        self._ends_at: dict[UUID, datetime] = {}
        self._given_up: dict[UUID, tuple[datetime, PreemptionMode]] = {}
        for held in trace.held:
            if held.until is not None:
                self._ends_at[held.session.id] = held.until
                self._at(held.until, _Kind.END, held.session.id)
        for arrival in trace.arrivals:
            self._at(arrival.session.pending_since, _Kind.ARRIVE, arrival.session.id)
        self._past = self._pasts()

    def step(self) -> bool:
        """Go on to the next moment at which something happens; False when nothing does any more."""
        if not self._events:
            return False
        moment = self._events[0][0]
        if self._passed_at is not None:
            moment = max(moment, self._passed_at + self._rules.every)
        while self._events and self._events[0][0] <= moment:
            at, kind, _, session = heapq.heappop(self._events)
            if session is not None:
                self._happen(at, kind, session)
        if self._pending:
            self._pass(moment)
        return True

    def run(self) -> Run:
        return Run(self._rules, tuple(self._outcomes.values()), self._passes)

    def _at(self, moment: datetime, kind: _Kind, session: UUID | None) -> None:
        heapq.heappush(self._events, (moment, kind, next(self._order), session))

    def _happen(self, at: datetime, kind: _Kind, id_: UUID) -> None:
        if kind is _Kind.END:
            if self._ends_at.get(id_) == at:  # else it was ended before, and may run anew
                self._end(id_, at)
                self._unfinished.discard(id_)
            return
        if kind is _Kind.GIVE_UP:
            if id_ in self._given_up and self._given_up[id_][0] == at:  # else it ended by itself before
                self._give_up(id_, at)
            return
        session = self._arrivals[id_].session
        self._pending[id_] = session
        due = session.starts_at or session.pending_since
        timeout = next((g.pending_timeout for g in self._rules.groups if g.name == session.scaling_group), None)
        for moment in (session.starts_at, None if timeout is None else max(due, session.pending_since) + timeout):
            if moment is not None:
                self._at(moment, _Kind.LOOK, None)

    def _pass(self, moment: datetime) -> None:
        waiting = [replace(s, parents=()) if s.parents else s for s in self._pending.values() if self._is_free(s)]
        snapshot = Snapshot(
            taken_at=moment,
            nodes=self._rules.nodes,
            pending=tuple(sorted(waiting, key=lambda s: (-s.priority, s.sequence))),
            placed=tuple(self._placed.values()),
            groups=self._rules.groups,
            quotas=self._trace.quotas,
            past=tuple((group, use.until(moment)) for group, use in sorted(self._past.items())),
        )
        decided = self._decide(snapshot, self._plugins)
        self._passed_at = moment
        self._passes += 1
        for placement in decided.placements:
            self._start(placement, moment)
        for end in decided.cancellations:
            self._leave(end.session)
            self._unfinished.discard(end.session)
        for preemption in decided.preemptions:
            self._preempt(preemption, moment)

    def _is_free(self, session: PendingSession) -> bool:
        """Say whether no session of the trace that this one depends on is still to end."""
        return not any(parent.id in self._unfinished for parent in session.parents)

    def _preempt(self, preemption: Preemption, moment: datetime) -> None:
        """Let a session end when its grace is over, and look then: the next pass gives the room away."""
        id_ = preemption.victim
        at = moment + preemption.grace
        self._placed[id_] = replace(self._placed[id_], is_ending=True, ends_at=at)
        self._given_up[id_] = (at, preemption.mode)
        self._at(at, _Kind.GIVE_UP, id_)
        self._at(at, _Kind.LOOK, None)

    def _give_up(self, id_: UUID, moment: datetime) -> None:
        """End a session for good, or until there is room again."""
        _, mode = self._given_up[id_]
        self._end(id_, moment)
        if id_ in self._arrivals and mode is PreemptionMode.RESCHEDULE:
            self._outcomes[id_] = Outcome(self._arrivals[id_].session)
            self._pending[id_] = self._arrivals[id_].session
            self.decided -= 1
        elif id_ in self._arrivals:
            self._outcomes[id_] = replace(self._outcomes[id_], ended=moment)
            self._unfinished.discard(id_)

    def _end(self, id_: UUID, at: datetime) -> None:
        self._count(self._placed.pop(id_), at, -1)
        self._ends_at.pop(id_, None)
        self._given_up.pop(id_, None)

    def _start(self, placement: Placement, moment: datetime) -> None:
        session = self._leave(placement.session)
        lengths = [n for n in (self._arrivals[session.id].runs_for, session.time_limit) if n is not None]
        ends_at = moment + min(lengths) if lengths else None
        self._outcomes[session.id] = Outcome(session, moment, ends_at)
        self._placed[session.id] = placed = session.placed(placement.seats, moment)
        self._count(placed, moment, 1)
        if ends_at is not None:
            self._ends_at[session.id] = ends_at
            self._at(ends_at, _Kind.END, session.id)

    def _leave(self, id_: UUID) -> PendingSession:
        self.decided += 1
        return self._pending.pop(id_)

    def _pasts(self) -> dict[str, PastUse]:
        """Return what is to be remembered of each scaling group whose sequencer asks for it."""
        if not self._events:
            return {}
        first = self._events[0][0]
        asking = [g for g in self._rules.groups if needs_past(self._plugins.sequencers.get(g.sequencer))]
        pasts = {
            group.name: PastUse(
                [node.capacity for node in self._rules.nodes if node.scaling_group == group.name],
                half_life_of(group),
                first,
            )
            for group in asking
        }
        for session in self._placed.values():
            if session.scaling_group in pasts:
                pasts[session.scaling_group].change(session.tenant, session.slots, 1)
        return pasts

    def _count(self, session: PlacedSession, moment: datetime, sign: int) -> None:
        if (past := self._past.get(session.scaling_group)) is not None:
            past.until(moment)
            past.change(session.tenant, session.slots, sign)
