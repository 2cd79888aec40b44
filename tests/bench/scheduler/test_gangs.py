"""How much of the GPUs is used when gangs come, beside a head-of-line scheduler, and whether gangs wait longer for it.

Both arms see the same made-up days, through the simulator: 256 GPUs on 32 nodes, and every few minutes a session, one
in eight of them a gang of 2 to 8 whole nodes. Users give limits of one to two times what their sessions take. The other
arm is the planner's own answer up to the first session that does not fit: nobody passes it. Ties: both arms `packed`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import fmean
from uuid import UUID

import pytest
from tests.bench.conftest import Note

from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.simulation.measures import figures_of
from caravan_manager.scheduler.simulation.simulator import Decide, Rules, Run, simulate
from caravan_manager.scheduler.simulation.trace import EPOCH, Arrival, Trace, imported, made_node
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Plan, Snapshot

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

SEEDS = range(42, 47)
TIMES_USED = 1.15
NODES, GPUS, SESSIONS, MINUTES = 32, 8, 400, 3
GANG_SIZES = [2, 2, 4, 4, 8]
SLOT = "cuda.device"
GIB = 1 << 30


def _nodes() -> tuple[NodeView, ...]:
    devices = tuple(Device(str(number), SLOT, "H100") for number in range(GPUS))
    slots = {"cpu": Decimal(128), "mem": Decimal(2048 * GIB)}
    return tuple(made_node(f"node-{number:02}", slots, devices) for number in range(NODES))


def _trace(seed: int) -> Trace:
    rng = Random(seed)
    came, arrivals = EPOCH, []
    for number in range(SESSIONS):
        came += timedelta(minutes=rng.expovariate(1 / MINUTES))
        is_gang = rng.random() < 1 / 8
        gpus = GPUS if is_gang else rng.choice([1, 1, 1, 2, 2, 4])
        runs_for = timedelta(hours=rng.uniform(1, 8) if is_gang else rng.lognormvariate(0.5, 1.0))
        slots = {"cpu": Decimal(8 * gpus), "mem": Decimal(64 * GIB * gpus), SLOT: Decimal(gpus)}
        kernels = rng.choice(GANG_SIZES) if is_gang else 1
        limit = runs_for * rng.uniform(1, 2)
        session = imported(number, f"s{number}", came, slots, user=f"user-{number % 10}", kernels=kernels, limit=limit)
        arrivals.append(Arrival(session, runs_for))
    return Trace(tuple(arrivals))


class Promises:
    """The planner, and when it said that the first of those that wait would start at the latest."""

    def __init__(self) -> None:
        self.latest: dict[UUID, datetime] = {}

    def __call__(self, snapshot: Snapshot, plugins: Plugins) -> Plan:
        """Make a plan, and remember what it promises to the head of the queue if that was promised nothing yet."""
        decided = plan(snapshot, plugins)
        for kept in decided.reserved[:1]:
            assert kept.starts_at is not None
            self.latest.setdefault(kept.session, kept.starts_at)
        return decided


def _head_of_line(snapshot: Snapshot, plugins: Plugins) -> Plan:
    """Plan as if nobody passed the first one that does not fit."""
    decided = plan(snapshot, plugins)
    places = {session.id: session.sequence for session in snapshot.pending}
    head = min((places[wait.session] for wait in decided.waits), default=SESSIONS)
    return replace(decided, placements=tuple(p for p in decided.placements if places[p.session] < head))


def _run(seed: int, decide: Decide) -> Run:
    return simulate(_trace(seed), Rules("gangs", _nodes(), (GroupView("default"),)), find_plugins(), decide=decide)


def _gang_waits(run: Run) -> float:
    """Return the hours that gangs waited, in the mean."""
    gangs = [o for o in run.outcomes if len(o.session.kernels) > 1]
    return fmean((o.began - o.session.pending_since) / timedelta(hours=1) for o in gangs if o.began is not None)


def test_utilisation_with_gangs(note: Note, bar: Callable[..., None], floor: Callable[..., None]) -> None:
    used: list[tuple[float, float]] = []
    late = 0
    for seed in SEEDS:
        promises = Promises()
        ours, theirs = _run(seed, promises), _run(seed, _head_of_line)
        figures = [figures_of(run).accelerators for run in (ours, theirs)]
        assert None not in figures
        used.append((figures[0] or 0.0, figures[1] or 0.0))
        began = {o.session.id: o.began for o in ours.outcomes}
        late += sum(began[id_] is None or began[id_] > at for id_, at in promises.latest.items())
        note(
            f"seed {seed}: {used[-1][0]:.1%} of the GPUs used, head of line {used[-1][1]:.1%}; gangs waited "
            f"{_gang_waits(ours):.1f} h, head of line {_gang_waits(theirs):.1f} h; {len(promises.latest)} heads"
        )
    floor("GPUs used, against head of line", fmean(a for a, _ in used) / fmean(b for _, b in used), TIMES_USED, "times")
    bar("heads that started after their reserved start", late, 0, "heads")
