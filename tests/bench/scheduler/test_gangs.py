"""How much of the GPUs is used when gangs come, beside a head-of-line scheduler, and whether gangs wait longer for it.

Both arms see the same made-up days, through the simulator: 256 GPUs on 32 nodes, and every three minutes a session,
more than there is room for. One in eight is a gang of whole nodes: of 2 to 16, half of them all, or of 2 to 8, which a
head-of-line scheduler minds less. Users give limits of one to two times what their sessions take. The other arm is the
planner's own answer up to the first session that does not fit: nobody passes it. Ties: both arms `packed`.
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

SEEDS = range(42, 45)
TIMES_USED = 1.15
NODES, GPUS, SESSIONS, MINUTES = 32, 8, 400, 3
LARGE, SMALL = (2, 4, 8, 16), (2, 2, 4, 4, 8)
"""How many nodes gangs have, each as likely as the others."""
SLOT = "cuda.device"
GIB = 1 << 30


def _nodes() -> tuple[NodeView, ...]:
    devices = tuple(Device(str(number), SLOT, "H100") for number in range(GPUS))
    slots = {"cpu": Decimal(128), "mem": Decimal(2048 * GIB)}
    return tuple(made_node(f"node-{number:02}", slots, devices) for number in range(NODES))


def _trace(seed: int, sizes: tuple[int, ...]) -> Trace:
    rng = Random(seed)
    came, arrivals = EPOCH, []
    for number in range(SESSIONS):
        came += timedelta(minutes=rng.expovariate(1 / MINUTES))
        is_gang = rng.random() < 1 / 8
        gpus = GPUS if is_gang else rng.choice([1, 1, 1, 2, 2, 4])
        runs_for = timedelta(hours=rng.uniform(1, 8) if is_gang else rng.lognormvariate(0.5, 1.0))
        slots = {"cpu": Decimal(8 * gpus), "mem": Decimal(64 * GIB * gpus), SLOT: Decimal(gpus)}
        kernels = rng.choice(sizes) if is_gang else 1
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


def _run(trace: Trace, decide: Decide) -> Run:
    return simulate(trace, Rules("gangs", _nodes(), (GroupView("default"),)), find_plugins(), decide=decide)


def _gang_waits(run: Run) -> float:
    """Return the hours that gangs waited, in the mean."""
    gangs = [o for o in run.outcomes if len(o.session.kernels) > 1]
    return fmean((o.began - o.session.pending_since) / timedelta(hours=1) for o in gangs if o.began is not None)


@pytest.mark.parametrize("sizes", [LARGE, SMALL], ids=["of up to half of the nodes", "of up to a quarter"])
def test_utilisation_with_gangs(
    sizes: tuple[int, ...], note: Note, bar: Callable[..., None], floor: Callable[..., None]
) -> None:
    used: list[tuple[float, float]] = []
    late = 0
    for seed in SEEDS:
        promises, trace = Promises(), _trace(seed, sizes)
        ours, theirs = _run(trace, promises), _run(trace, _head_of_line)
        mine, others = figures_of(ours).accelerators, figures_of(theirs).accelerators
        assert mine is not None
        assert others is not None
        used.append((mine, others))
        began = {o.session.id: o.began for o in ours.outcomes}
        late += sum((start := began[id_]) is None or start > at for id_, at in promises.latest.items())
        note(
            f"gangs of up to {max(sizes)} nodes, seed {seed}: {mine:.1%} of the GPUs used, head of line {others:.1%}; "
            f"gangs waited {_gang_waits(ours):.1f} h, head of line {_gang_waits(theirs):.1f} h"
        )
    times = fmean(mine for mine, _ in used) / fmean(others for _, others in used)
    if sizes is LARGE:
        floor("GPUs used with gangs, against head of line", times, TIMES_USED, "times")
    else:
        note(f"GPUs used with gangs of up to {max(sizes)} nodes, against head of line: {times:.2f} times")
    bar(f"heads that started after their reserved start, gangs of up to {max(sizes)}", late, 0, "heads")
