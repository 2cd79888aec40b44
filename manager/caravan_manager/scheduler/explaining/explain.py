"""Why a session waits, what would help, and when it starts; for a request that was not submitted, whether it would.

A pure function of a snapshot: the planner is asked a bounded number of times, never anything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from caravan_manager.nodes.model import HIGHEST_PRIORITY
from caravan_manager.scheduler.explaining.counterfactuals import Found, Search
from caravan_manager.scheduler.explaining.forward import after, at, next_moment, started_in
from caravan_manager.scheduler.explaining.model import (
    Ahead,
    Basis,
    Counterfactual,
    Estimate,
    Explanation,
    Obstruction,
    Queue,
)
from caravan_manager.scheduler.explaining.obstructions import Nodes, obstruction
from caravan_manager.scheduler.explaining.trials import MOST_RUNS, NoMoreTrialsError, Trials, always, placement_of
from caravan_manager.scheduler.plugins import Plugins
from caravan_manager.scheduler.snapshot import GroupView, Obstacle, Plan, Snapshot, Wait
from caravan_manager.sessions.queue import PendingSession, PlacedSession

MOST_STEPS = 12
"""Through how many ends to come the planner is run for an estimate."""
AHEAD = 10
"""How many sessions are named that get their turn before."""
KEEPS_ITS_ORDER = "fifo"
"""The sequencer with which nobody who comes later, and nothing that others get, puts a reserved start off."""
NAMED_ENDS = 8
"""How many sessions are named whose ends an estimate rests on."""
_NEVER = frozenset(
    {
        Obstacle.NO_NODE_OF_GROUP,
        Obstacle.NO_NODE_OF_ARCHITECTURE,
        Obstacle.NOT_DESIGNATED,
        Obstacle.NO_NODE_WITH_VOLUMES,
        Obstacle.LARGER_THAN_ANY_NODE,
    }
)


def explain(
    snapshot: Snapshot,
    session: UUID,
    plugins: Plugins,
    *,
    groups: Sequence[str] = (),
    highest: int = HIGHEST_PRIORITY,
    may_go_on: Callable[[], bool] = always,
    most_runs: int = MOST_RUNS,
) -> Explanation:
    """Explain a pending session of the snapshot.

    ``groups`` are the scaling groups that it may use, ``highest`` is the priority that it may have at most, and
    ``may_go_on`` says whether there is time for another run.
    """
    pending = next(s for s in snapshot.pending if s.id == session)
    trials = Trials(snapshot, session, plugins, most_runs, may_go_on)
    decided = trials.plan()
    wait = trials.wait()
    told = Explanation(
        session=session,
        taken_at=snapshot.taken_at,
        placement=placement_of(decided, session),
        cancellation=next((end for end in decided.cancellations if end.session == session), None),
        queue=None,
        obstructions=(),
        counterfactuals=(),
        possible=(),
        estimate=Estimate(snapshot.taken_at, snapshot.taken_at, Basis.STARTS),
        runs=1,
        complete=True,
    )
    if wait is None:
        return told if told.cancellation is None else replace(told, estimate=Estimate(None, None, Basis.NEVER))
    found = Search(trials, wait, groups, highest).search()
    last = found.then or wait
    alone = Trials(
        replace(snapshot, pending=(pending,), placed=()), session, plugins, most_runs - trials.runs, may_go_on
    )
    possible = _possible(alone, groups, highest) if last.obstacle in _NEVER else ()
    steps = Trials(snapshot, session, plugins, MOST_STEPS, may_go_on)
    queue = _queue(snapshot, pending, decided)
    return replace(
        told,
        queue=queue,
        obstructions=tuple(_obstructions(snapshot, pending, decided, wait, found)),
        counterfactuals=tuple(sorted(found.helping, key=_order)),
        possible=possible,
        estimate=_estimate(snapshot, pending, queue, decided, last, steps),
        runs=trials.runs + alone.runs + steps.runs,
        complete=found.complete,
    )


def _possible(alone: Trials, groups: Sequence[str], highest: int) -> tuple[Counterfactual, ...]:
    """Return with which changes the session would start if it was the only one; as far as there are runs left."""
    try:
        wait = alone.wait()
    except NoMoreTrialsError:
        return ()
    found = () if wait is None else Search(alone, wait, groups, highest).search().helping
    return tuple(sorted(found, key=_order))


def _order(helping: Counterfactual) -> tuple[int, str]:
    """Fewer changes first; of as many, in alphabetical order of their kinds."""
    return len(helping.changes), type(helping.changes[-1]).__name__


def _queue(snapshot: Snapshot, session: PendingSession, decided: Plan) -> Queue:
    by_id = {s.id: s for s in snapshot.pending}
    waits = [wait for wait in decided.waits if by_id[wait.session].scaling_group == session.scaling_group]
    position = next(i for i, wait in enumerate(waits) if wait.session == session.id)
    kept = {reserved.session for reserved in decided.reserved}
    group = next((g for g in snapshot.groups if g.name == session.scaling_group), GroupView(session.scaling_group))
    ahead = tuple(Ahead(wait.session, wait.obstacle, wait.session in kept) for wait in waits[:position][:AHEAD])
    return Queue(group.name, group.sequencer, position + 1, len(waits), ahead)


def _obstructions(
    snapshot: Snapshot, session: PendingSession, decided: Plan, wait: Wait, found: Found
) -> list[Obstruction]:
    nodes = Nodes(snapshot, session, (*snapshot.placed, *started_in(snapshot, decided)))
    then = found.then.reasons if found.then is not None else ()
    return [obstruction(reason, snapshot, session, nodes, only_then=False) for reason in wait.reasons] + [
        obstruction(reason, snapshot, session, nodes, only_then=True) for reason in then
    ]


def _estimate(
    snapshot: Snapshot, session: PendingSession, queue: Queue, decided: Plan, last: Wait, steps: Trials
) -> Estimate:
    """Say when it starts if nothing else comes: by the room that is kept for it, else by going through the ends.

    Kept room is a promise to the first of the queue only: what those ahead of others take may turn out different.
    """
    earliest = max(snapshot.taken_at, session.starts_at or snapshot.taken_at)
    if last.obstacle in _NEVER:
        return Estimate(None, None, Basis.NEVER)
    kept = next((reserved for reserved in decided.reserved if reserved.session == session.id), None)
    there = [s for s in snapshot.placed if kept is not None and any(k.node in kept.nodes for k in s.kernels)]
    there.sort(key=lambda s: (s.ends_at is not None, s.ends_at or s.placed_at, s.id))
    if ended := _ended_for(session, decided, there if session.goes_first(snapshot.taken_at) else ()):
        return Estimate(earliest, None, Basis.MADE, ended[:NAMED_ENDS])
    waits_for = tuple(s.id for s in there)[:NAMED_ENDS]
    if kept is not None and kept.starts_at is None:
        return Estimate(earliest, None, Basis.RESERVED_UNKNOWN, waits_for)
    if kept is not None and queue.sequencer == KEEPS_ITS_ORDER and queue.position == 1:
        return Estimate(earliest, kept.starts_at, Basis.RESERVED, waits_for)
    latest = None
    if not any(reason.obstacle is Obstacle.DEPENDENCIES for reason in last.reasons):
        latest = _start_by_limits(snapshot, session.id, decided, steps)
    return Estimate(earliest, latest, Basis.UNKNOWN if latest is None else Basis.LIMITS, waits_for)


def _ended_for(session: PendingSession, decided: Plan, there: Sequence[PlacedSession]) -> tuple[UUID, ...]:
    """Return the sessions that are ended for this one: those that the next pass chooses, and those that end already."""
    chosen = [one.victim for one in decided.preemptions if one.session == session.id]
    return (*chosen, *(one.id for one in there if one.is_ending))


def _start_by_limits(snapshot: Snapshot, session: UUID, decided: Plan, steps: Trials) -> datetime | None:
    """Return when the planner starts the session if each runs into its limit; None when it isn't seen so far ahead."""
    now = after(snapshot, decided)
    try:
        while (moment := next_moment(now)) is not None:
            now = at(moment, now)
            decided = steps.plan_of(now)
            if placement_of(decided, session) is not None:
                return moment
            if any(end.session == session for end in decided.cancellations):
                return None
            now = after(now, decided)
    except NoMoreTrialsError:
        pass
    return None
