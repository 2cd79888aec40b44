"""What a run was like: waits, utilisation, fairness. Pure.

The window is from the first arrival to the last start: after it nothing can be done better.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np

from caravan_common.slots import ResourceSlots
from caravan_manager.scheduler.simulation.simulator import Outcome, Run

SHORTEST_SECONDS = 10.0
"""A shorter session counts as this long in slowdowns, or its wait would be all that counts."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A run in numbers; seconds, and parts of 1. None where there is nothing to measure."""

    sessions: int
    started: int
    mean_wait: float | None
    median_wait: float | None
    p95_wait: float | None
    longest_wait: float | None
    window: float
    cpu: float | None
    accelerators: float | None
    fairness_of_shares: float | None
    fairness_of_slowdowns: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went: at each moment, in seconds from the first arrival, what was in use and how many waited."""

    seconds: list[float]
    used: list[float]
    waiting: list[int]
    of: str
    """What is in use: ``accelerators``, or ``cpu`` on nodes that have none."""


def figures_of(run: Run) -> Figures:
    """Measure a run."""
    begun = [outcome for outcome in run.outcomes if outcome.began is not None]
    waits = np.array([_wait(outcome) for outcome in begun])
    first, last = _window(run)
    devices = _device_slots(run)
    return Figures(
        sessions=len(run.outcomes),
        started=len(begun),
        mean_wait=float(waits.mean()) if begun else None,
        median_wait=_percentile(waits, 50),
        p95_wait=_percentile(waits, 95),
        longest_wait=_percentile(waits, 100),
        window=(last - first).total_seconds(),
        cpu=_utilisation(run, {"cpu"}),
        accelerators=_utilisation(run, devices),
        fairness_of_shares=_fairness_of_shares(run),
        fairness_of_slowdowns=_fairness_of_slowdowns(begun),
    )


def course_of(run: Run) -> Course:
    """Return how a run went, for a plot."""
    first, _ = _window(run)
    devices = _device_slots(run)
    slots = devices or {"cpu"}
    total = _capacity(run, slots)
    changes: list[tuple[datetime, float, int]] = []
    for outcome in run.outcomes:
        changes.append((_came(outcome), 0.0, 1))
        amount = _amount(outcome.session.slots, slots)
        if outcome.began is not None:
            changes.append((outcome.began, amount, -1))
            if outcome.ended is not None:
                changes.append((outcome.ended, -amount, 0))
    course = Course([], [], [], "accelerators" if devices else "cpu")
    used, waiting = 0.0, 0
    for moment, at_once in groupby(sorted(changes), key=lambda change: change[0]):
        for _, amount, count in at_once:
            used, waiting = used + amount, waiting + count
        course.seconds.append((moment - first).total_seconds())
        course.used.append(used / total if total else 0.0)
        course.waiting.append(waiting)
    return course


def jain(values: Iterable[float]) -> float | None:
    """Return Jain's index: 1 when all are equal, 1/n when one has everything (Jain, Chiu, Hawe 1984)."""
    array = np.array(list(values))
    squares = float((array**2).sum())
    return float(array.sum()) ** 2 / (len(array) * squares) if squares else None


def _came(outcome: Outcome) -> datetime:
    session = outcome.session
    return max(session.pending_since, session.starts_at or session.pending_since)


def _wait(outcome: Outcome) -> float:
    return 0.0 if outcome.began is None else (outcome.began - _came(outcome)).total_seconds()


def _window(run: Run) -> tuple[datetime, datetime]:
    first = min(_came(outcome) for outcome in run.outcomes)
    return first, max((outcome.began for outcome in run.outcomes if outcome.began is not None), default=first)


def _percentile(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", percent: float) -> float | None:
    return float(np.percentile(values, percent, method="inverted_cdf")) if len(values) else None


def _device_slots(run: Run) -> set[str]:
    return {device.slot for node in run.rules.nodes for device in node.devices}


def _capacity(run: Run, slots: set[str]) -> float:
    return sum(_amount(node.capacity, slots) for node in run.rules.nodes)


def _amount(of: ResourceSlots, slots: set[str]) -> float:
    return sum(float(amount) for slot, amount in of.items() if slot in slots)


def _seconds(outcome: Outcome, first: datetime, last: datetime) -> float:
    """Return for how long a session ran inside a window."""
    if outcome.began is None:
        return 0.0
    return max(0.0, (min(outcome.ended or last, last) - max(outcome.began, first)).total_seconds())


def _utilisation(run: Run, slots: set[str]) -> float | None:
    first, last = _window(run)
    total = _capacity(run, slots) * (last - first).total_seconds()
    used = sum(_amount(outcome.session.slots, slots) * _seconds(outcome, first, last) for outcome in run.outcomes)
    return used / total if total else None


def _by_user(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    found: defaultdict[object, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.session.tenant.user].append(outcome)
    return list(found.values())


def _fairness_of_shares(run: Run) -> float | None:
    """Return Jain's index of the users' mean dominant shares, each while he had sessions waiting or running."""
    first, last = _window(run)
    slots = sorted({slot for node in run.rules.nodes for slot in node.capacity})
    capacity = {slot: _capacity(run, {slot}) for slot in slots}
    shares: list[float] = []
    for outcomes in _by_user(run.outcomes):
        active = _covered([(_came(o), min(o.ended or last, last)) for o in outcomes])
        parts = [
            sum(_amount(o.session.slots, {slot}) * _seconds(o, first, last) for o in outcomes) / capacity[slot]
            for slot in slots
            if capacity[slot]
        ]
        if active:
            shares.append(max(parts, default=0.0) / active)
    return jain(shares)


def _covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Return how many seconds are in at least one of the spans."""
    total, until = 0.0, None
    for begin, end in sorted(spans):
        begins = begin if until is None else max(begin, until)
        if end > begins:
            total += (end - begins).total_seconds()
            until = end
    return total


def _fairness_of_slowdowns(begun: Sequence[Outcome]) -> float | None:
    """Return Jain's index of the users' mean slowdowns: how many times as long as it ran a session took in all."""
    return jain(float(np.mean([_slowdown(outcome) for outcome in outcomes])) for outcomes in _by_user(begun))


def _slowdown(outcome: Outcome) -> float:
    ran = SHORTEST_SECONDS
    if outcome.began is not None and outcome.ended is not None:
        ran = max(ran, (outcome.ended - outcome.began).total_seconds())
    return (_wait(outcome) + ran) / ran
