"""Keeps plugins from stopping a pass: what one gets wrong or takes too long for, the default one answers.

A trouble is part of the plan, so that it is told and a replay shows it.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.selector import Beside, MakeSelector, Room, Selector
from caravan_manager.scheduler.sequencers.sequencer import Sequencer, Turns, Usage
from caravan_manager.scheduler.snapshot import Trouble
from caravan_manager.sessions.queue import PendingSession

PLUGIN_SECONDS = 1.0
"""How long a plugin may take in a pass over one scaling group."""
Report = Callable[[Trouble], object]


def is_own(plugin: object) -> bool:
    """Say whether a plugin is one of Caravan's: a busy machine must not make these hand over."""
    return getattr(plugin, "__module__", "").startswith("caravan_manager.")


class GuardedSelector:
    """A selector of somebody else's that hands over to the default one for the rest of the pass when it fails."""

    def __init__(self, name: str, make: MakeSelector, default: MakeSelector, room: Room, report: Report) -> None:
        self._name = name
        self._default = default
        self._room = room
        self._report = report
        self._seconds = 0.0
        self._trusted = False
        self._selector = self._make(make)

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        """Return the plugin's scores, or the default's."""
        if self._trusted:
            return self._selector.scores(demand, rows, beside)
        return self._asked(rows, lambda selector: selector.scores(demand, rows, beside))

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        """Return what the plugin, or the default, tells rows apart by."""
        if self._trusted:
            return self._selector.ties(demand, rows)
        return self._asked(rows, lambda selector: selector.ties(demand, rows))

    def _asked(self, rows: Ints, ask: Callable[[Selector], Floats]) -> Floats:
        began = time.perf_counter()
        try:
            given = np.asarray(ask(self._selector), np.float64)
            if len(given) != len(rows) or np.isnan(given).any():
                raise ValueError("it gave no number for some node")  # noqa: TRY301 - what a plugin gets wrong ends alike
        except Exception as err:
            return ask(self._hand_over(repr(err)))
        self._seconds += time.perf_counter() - began
        if self._seconds > PLUGIN_SECONDS:
            self._hand_over(f"it took longer than {PLUGIN_SECONDS} s")
        return given

    def _make(self, make: MakeSelector) -> Selector:
        try:
            return make(self._room)
        except Exception as err:
            return self._hand_over(repr(err))

    def _hand_over(self, why: str) -> Selector:
        self._report(Trouble(self._name, why))
        self._trusted = True
        self._selector = self._default(self._room)
        self._room.left.changes += range(len(self._room.left.names))  # the plugin's scores are not to be compared
        return self._selector


class GuardedSequencer:
    """A sequencer after which nobody is forgotten: whom it does not name, the default one does."""

    def __init__(self, name: str, sequencer: Sequencer, default: Sequencer, report: Report) -> None:
        self._name = name
        self._sequencer = sequencer
        self._default = default
        self._report = report

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield each session once."""
        left = {session.id: session for session in pending}
        turns: Turns | None = None
        seconds, started, trusted = 0.0, None, is_own(type(self._sequencer))
        while left:
            began = time.perf_counter()
            try:
                turns = turns or self._sequencer.turns(pending, usage, options)
                named = next(turns) if started is None else turns.send(started)
                session = left.pop(named.id, None)
            except StopIteration:
                break
            except Exception as err:
                self._report(Trouble(self._name, repr(err)))
                break
            seconds += time.perf_counter() - began
            if seconds > PLUGIN_SECONDS and not trusted:
                self._report(Trouble(self._name, f"it took longer than {PLUGIN_SECONDS} s"))
                left |= {} if session is None else {session.id: session}
                break
            started = False
            if session is not None:
                started = yield session
        yield from self._default.turns(list(left.values()), usage, options)
