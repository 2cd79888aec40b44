"""How much of the GPUs is allocated on openb's 17 workloads, seeds 42 to 51, beside FGD and best fit in the same run.

With names in their order and with names dealt anew (by the seed). FGD runs with both tie rules, best fit with the
smallest name. CARAVAN_OPENB names the trace's folder; CARAVAN_OPENB_SEEDS takes fewer seeds, such as `42,43`.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from statistics import fmean

import pytest
from tests.bench.conftest import Note
from tests.bench.scheduler import caravan
from tests.bench.scheduler.cluster import Arm, Nodes, Request
from tests.bench.scheduler.openb import SEEDS, MissingTraceError, Outcome, Trace, arrivals, replay
from tests.bench.scheduler.reference import BestFit, Fgd

pytestmark = [pytest.mark.bench, pytest.mark.timeout(6 * 3600)]

PUBLISHED_MEAN = 94.21
WINS = 14
SHUFFLED_LOSS = 0.3
ARMS: dict[str, Callable[[Nodes, list[Request]], Arm]] = {
    "packed": caravan.packed,
    "fgd, ties by name": lambda nodes, typical: Fgd(nodes, typical, tightest=False),
    "fgd, ties as packed": lambda nodes, typical: Fgd(nodes, typical, tightest=True),
    "best fit": lambda nodes, _typical: BestFit(nodes, tightest=False),
}


@dataclass(frozen=True)
class Run:
    """One run of the benchmark."""

    arm: str
    workload: str
    seed: int
    shuffled: bool


def _seeds() -> list[int]:
    wanted = os.environ.get("CARAVAN_OPENB_SEEDS")
    return [int(seed) for seed in wanted.split(",")] if wanted else list(SEEDS)


def _play(run: Run) -> Outcome:
    trace = Trace.from_environment()
    nodes, requests = trace.nodes(run.seed if run.shuffled else None), trace.requests(run.workload)
    arm = ARMS[run.arm](nodes, requests)
    return replay(arm, nodes, arrivals(requests, nodes.capacity, run.seed))


@dataclass(frozen=True)
class Figures:
    """All outcomes of a benchmark, and what the trace's authors published."""

    outcomes: dict[Run, Outcome]
    published: dict[str, float]

    def of(self, arm: str, *, shuffled: bool) -> dict[str, float]:
        """Return an arm's allocation for each workload: the mean of the seeds, in percent."""
        return {
            workload: fmean(
                outcome.allocated
                for run, outcome in self.outcomes.items()
                if (run.arm, run.workload, run.shuffled) == (arm, workload, shuffled)
            )
            for workload in self.published
        }


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    """Every arm on every workload and seed, with names and with shuffled names."""
    try:
        trace = Trace.from_environment()
    except MissingTraceError as err:
        pytest.skip(str(err))
    published = trace.published("fgd")
    runs = [Run(*one) for one in product(ARMS, published, _seeds(), (False, True))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield Figures(dict(zip(runs, pool.map(_play, runs, chunksize=4), strict=True)), published)


def test_reference_arms_reach_what_was_published(figures: Figures, note: Note) -> None:
    for arm, shuffled in product([arm for arm in ARMS if arm != "packed"], (False, True)):
        names = "shuffled names" if shuffled else "names in order"
        note(f"openb: {arm}, {names}: mean {fmean(figures.of(arm, shuffled=shuffled).values()):.2f} %")
    ours, published = figures.of("fgd, ties by name", shuffled=True), figures.published
    worst = max(published, key=lambda workload: abs(ours[workload] - published[workload]))
    note(
        f"openb: FGD published: mean {fmean(published.values()):.2f} %; ours with shuffled names is farthest from it on"
    )
    note(f"  {worst}: {ours[worst]:.2f} against {published[worst]:.2f} %")


def test_packed_against_fgd_and_best_fit(figures: Figures, floor: Callable[..., None], note: Note) -> None:
    published, fit = figures.published, figures.of("best fit", shuffled=False)
    ours, shuffled = figures.of("packed", shuffled=False), figures.of("packed", shuffled=True)
    fgd, other = (figures.of(f"fgd, ties {rule}", shuffled=True) for rule in ("as packed", "by name"))
    for workload in published:
        note(
            f"openb: {workload:12} packed {ours[workload]:.2f} (shuffled {shuffled[workload]:.2f}), FGD published "
            f"{published[workload]:.2f}, shuffled {other[workload]:.2f}, with our ties {fgd[workload]:.2f}, "
            f"best fit {fit[workload]:.2f}"
        )
    floor("openb: mean allocation of 17 workloads", fmean(ours.values()), PUBLISHED_MEAN, "%")
    wins = sum(ours[workload] >= published[workload] for workload in published)
    floor("openb: workloads at least as good as FGD's published", wins, WINS, "of 17")
    floor("openb: least lead over best fit", min(ours[w] - fit[w] for w in published), 0.0, "points")
    least = fmean(fgd.values()) - SHUFFLED_LOSS
    floor("openb: mean with shuffled names, against FGD of the same ties", fmean(shuffled.values()), least, "%")


def test_no_placement_is_refused_by_a_device_map(figures: Figures, bar: Callable[..., None]) -> None:
    bar("openb: placements that the map of devices refused", sum(o.refused for o in figures.outcomes.values()), 0, "")
