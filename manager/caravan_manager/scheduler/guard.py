"""Keeps plugins from stopping a pass: what one gets wrong or takes too long for, the default one answers.

Other packages' plugins are asked in threads of their own, so that one that never answers holds up one pass for a second
and no more; while it is busy it is not asked again. One that computes for ever in Python takes its part of the
processor until the process ends: nothing can stop a thread. A trouble is part of the plan, so that it is told and a
replay shows it.
"""

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol, TypeVar, cast

import numpy as np

from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.selectors.selector import Beside, MakeSelector, Room, Selector
from caravan_manager.scheduler.sequencers.sequencer import Sequencer, Turns, Usage
from caravan_manager.scheduler.snapshot import Trouble
from caravan_manager.sessions.queue import PendingSession

PLUGIN_SECONDS = 1.0
"""How long a plugin may take in a pass, over all scaling groups."""
REST_SECONDS = 60.0
"""How long one that took longer is not asked."""
Report = Callable[[Trouble], object]
Answer = TypeVar("Answer")
_Question = Callable[[], object]
_Key = tuple[str, str]
"""What a plugin is, a scheduler or a selector, and its name."""


def is_own(plugin: object) -> bool:
    """Say whether a plugin is one of Caravan's: a busy machine must not make these hand over."""
    return str(getattr(plugin, "__module__", "")).startswith("caravan_manager.")


class PluginSlowError(Exception):
    """A plugin took too long, now or a moment ago."""


@dataclass(slots=True)
class Resting:
    """Which plugins took too long: they are not asked for some ``seconds``, nor while they are still busy with it."""

    seconds: float = REST_SECONDS
    until: dict[_Key, tuple[float, Thread]] = field(default_factory=dict[_Key, tuple[float, Thread]])

    def must_not_rest(self, key: _Key) -> None:
        """Raise PluginSlowError for a plugin that took too long."""
        if (known := self.until.get(key)) is None:
            return
        until, thread = known
        if thread.is_alive():
            raise PluginSlowError("it has not answered yet what it was asked before")
        if time.monotonic() < until:
            raise PluginSlowError(f"it took longer than {PLUGIN_SECONDS} s less than {self.seconds:.0f} s ago")

    def rest(self, key: _Key, thread: Thread) -> None:
        """Do not ask a plugin for a while; the thread is the one that it was asked in."""
        self.until[key] = (time.monotonic() + self.seconds, thread)


class Asker(Protocol):
    """Asks a plugin."""

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer, or raise what the plugin raises. Raises PluginSlowError."""
        ...


class Askers:
    """Those of one pass, one for each plugin."""

    def __init__(self, resting: Resting) -> None:
        self._resting = resting
        self._of: dict[_Key, Asker] = {}

    def of(self, kind: str, name: str, plugin: object) -> Asker:
        """Return the one for a plugin: Caravan's own are asked as any function."""
        key = (kind, name)
        if (known := self._of.get(key)) is None:
            known = self._of[key] = _Plain() if is_own(plugin) else _InThread(key, self._resting)
        return known


class _Plain:
    def ask(self, question: Callable[[], Answer]) -> Answer:
        return question()


class _InThread:
    """Asks in a thread that is left to itself when the plugin does not answer."""

    def __init__(self, key: _Key, resting: Resting) -> None:
        self._key = key
        self._resting = resting
        self._left = PLUGIN_SECONDS
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[object, Exception | None]] = SimpleQueue()
        self._thread: Thread | None = None

    def ask(self, question: Callable[[], Answer]) -> Answer:
        thread = self._thread or self._begin()
        if self._left <= 0:
            raise self._too_slow(thread)
        began = time.monotonic()
        self._questions.put(question)
        try:
            answer, error = self._answers.get(timeout=self._left)
        except Empty:
            self._left = 0.0
            raise self._too_slow(thread) from None
        self._left -= time.monotonic() - began
        if self._left <= 0:
            raise self._too_slow(thread)
        if error is not None:
            raise error
        return cast("Answer", answer)

    def _too_slow(self, thread: Thread) -> PluginSlowError:
        self._questions.put(None)  # the thread ends with what it is busy with
        self._resting.rest(self._key, thread)
        return PluginSlowError(f"it took longer than {PLUGIN_SECONDS} s, and rests for {self._resting.seconds:.0f} s")

    def _begin(self) -> Thread:
        self._resting.must_not_rest(self._key)
        arguments = self._questions, self._answers
        self._thread = Thread(target=_serve, args=arguments, name=f"plugin-{self._key[1]}", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._questions.put, None)
        return self._thread


def _serve(questions: "SimpleQueue[_Question | None]", answers: "SimpleQueue[tuple[object, Exception | None]]") -> None:
    """Answer until nobody asks any more; nothing of a question is kept, or who asked would never be gone."""
    while (question := questions.get()) is not None:
        answers.put(_answer(question))
        del question


def _answer(question: _Question) -> tuple[object, Exception | None]:
    try:
        return question(), None
    except Exception as err:  # who asks is to have it
        return None, err
    except BaseException as err:
        return None, RuntimeError(repr(err))


def _trouble(plugin: str, error: Exception) -> Trouble:
    return Trouble(plugin, str(error) if isinstance(error, PluginSlowError) else repr(error))


class GuardedSelector:
    """A selector that hands over to the default one for the rest of the pass when it fails."""

    def __init__(
        self, name: str, make: MakeSelector, default: MakeSelector, room: Room, report: Report, plugin: Asker
    ) -> None:
        self._name = name
        self._default = default
        self._room = room
        self._report = report
        self._plugin = plugin
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
        try:
            given = np.asarray(self._plugin.ask(lambda: ask(self._selector)), np.float64)
            if len(given) != len(rows) or np.isnan(given).any():
                raise ValueError("it gave no number for some node")  # noqa: TRY301 - what a plugin gets wrong ends alike
        except Exception as err:
            return ask(self._hand_over(err))
        return given

    def _make(self, make: MakeSelector) -> Selector:
        try:
            return self._plugin.ask(lambda: make(self._room))
        except Exception as err:
            return self._hand_over(err)

    def _hand_over(self, error: Exception) -> Selector:
        self._report(_trouble(self._name, error))
        self._trusted = True
        self._selector = self._default(self._room)
        self._room.left.changes += range(len(self._room.left.names))  # the plugin's scores are not to be compared
        return self._selector


class GuardedSequencer:
    """A sequencer after which nobody is forgotten: whom it does not name, the default one does."""

    def __init__(self, name: str, sequencer: Sequencer, default: Sequencer, report: Report, plugin: Asker) -> None:
        self._name = name
        self._sequencer = sequencer
        self._default = default
        self._report = report
        self._plugin = plugin

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield each session once."""
        left = {session.id: session for session in pending}
        step, started = self._steps(pending, usage, options), None
        while left:
            try:
                session = left.pop(step(started).id, None)
            except StopIteration:
                break
            except Exception as err:
                self._report(_trouble(self._name, err))
                break
            started = False
            if session is not None:
                started = yield session
        yield from self._default.turns(list(left.values()), usage, options)

    def _steps(
        self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]
    ) -> Callable[[bool | None], PendingSession]:
        """Return what gives the next session when it is told whether the last one, if there was one, started."""
        turns: Turns | None = None

        def step(started: bool | None) -> PendingSession:
            nonlocal turns
            if turns is None:
                turns = self._sequencer.turns(pending, usage, options)
            return next(turns) if started is None else turns.send(started)

        return lambda started: self._plugin.ask(lambda: step(started))
