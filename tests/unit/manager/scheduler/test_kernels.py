"""The compiled loops against the same rules in plain Python, on made-up nodes with devices of all sorts."""

import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import GIB, gpus, node, slots

from caravan_common.slots import ResourceSlots
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler import kernels, warm
from caravan_manager.scheduler.demand import WHOLE, Demand, DeviceDemand, demand_of
from caravan_manager.scheduler.finder import Eligible, Finder
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.scheduler.selectors.packed import EVEN, Packed
from caravan_manager.scheduler.selectors.selector import Room, Selector
from caravan_manager.scheduler.snapshot import NodeView

SLOTS = ("cuda.shares", "rngd.device")
MODELS = ("A100", "H100")

devices = st.builds(
    Device,
    slot=st.sampled_from(SLOTS),
    model=st.sampled_from(MODELS),
    shares=st.sampled_from([1, 4, 10]),
    healthy=st.booleans() | st.just(True),
    id=st.just(""),
    numa_node=st.sampled_from([None, 0, 1]),
)
Wish = tuple[ResourceSlots, ...]
wishes = st.lists(
    st.builds(
        slots,
        cpu=st.integers(1, 4),
        gib=st.integers(1, 4),
        cuda_shares=st.sampled_from([0, 0.1, 0.25, 0.5, 1, 1.5, 2]),
        rngd_device=st.sampled_from([0, 0, 1, 2]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
some_models = st.sets(st.sampled_from(MODELS), max_size=1).map(frozenset)


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeView]:
    made = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8), st.lists(devices, max_size=4)), min_size=1))
    return [
        node(f"n{row:02}", cpu, gib, *(replace(device, id=str(place)) for place, device in enumerate(found)))
        for row, (cpu, gib, found) in enumerate(made)
    ]


def after(view: NodeView, demand: Demand) -> tuple[dict[str, int], list[int]] | None:
    """What a node that nobody uses has left beside a demand, or None where that is not to be had."""
    counts = {"cpu": int(view.capacity["cpu"] * WHOLE), "mem": int(view.capacity["mem"])}
    for slot, amount in demand.counts:
        counts[slot] -= amount
    free = [WHOLE if device.healthy else -1 for device in view.devices]
    for wanted in demand.devices:
        able = [
            place
            for place, device in enumerate(view.devices)
            if device.slot == wanted.slot and (not demand.models or device.model in demand.models)
        ]
        for part in wanted.parts:
            found = [i for i in able if free[i] >= part and part % (WHOLE // view.devices[i].shares) == 0]
            if not found:
                return None
            free[min(found, key=lambda i: free[i])] -= part
        whole = [place for place in able if free[place] == WHOLE]
        if len(whole) < wanted.whole:
            return None
        for place in whole[: wanted.whole]:
            free[place] = 0
    return (counts, free) if min(counts.values()) >= 0 else None


def worth(view: NodeView, counts: dict[str, int], free: list[int], typical: list[tuple[Demand, int]]) -> float:
    total = 0.0
    for slot in SLOTS:
        weighted = [(d, wanted, n) for d, n in typical for wanted in d.devices if wanted.slot == slot]
        for demand, wanted, number in weighted:
            size = WHOLE if wanted.whole else max(wanted.parts)
            usable = sum(
                left
                for left, device in zip(free, view.devices, strict=True)
                if device.slot == slot and left >= size and (not demand.models or device.model in demand.models)
            )
            feeds = [counts[fed] / max(1, dict(demand.counts).get(fed, 0)) for fed in ("cpu", "mem")]
            fed = min(usable / wanted.amount, *feeds)
            if fed >= 1:
                weight = max(1, number * 10_000 // sum(n for _, _, n in weighted))
                total += weight * (EVEN * usable + math.floor(fed * wanted.amount))
    return total


def as_row(ledger: Ledger, view: NodeView, counts: dict[str, int], free: list[int]) -> list[int]:
    """What is left in the ledger's columns; -1 where the node has no device."""
    row = [counts[slot] for slot in ledger.slots]
    for slot, of_slot in ledger.devices.items():
        here = [left for left, device in zip(free, view.devices, strict=True) if device.slot == slot]
        row += here + [-1] * (of_slot.columns.stop - of_slot.columns.start - len(here))
    return row


@settings(max_examples=200)
@given(nodes=clusters(), wish=wishes, models=some_models, others=st.lists(wishes, max_size=3))
def test_fits_and_losses_are_as_the_rules_say(
    nodes: list[NodeView], wish: Wish, models: frozenset[str], others: list[Wish]
) -> None:
    ledger = Ledger.of(nodes)
    demand = demand_of(wish, ledger.devices.keys(), models)
    rows = np.arange(len(nodes))
    fits, beside = ledger.look(demand, rows)
    expected = [None if {slot for slot, _ in demand.counts} - {"cpu", "mem"} else after(view, demand) for view in nodes]
    assert fits.tolist() == [left is not None for left in expected]
    typical = [(demand, 3), *((demand_of(other, ledger.devices.keys()), 1) for other in others)]
    lost = Packed(Room(ledger, ledger, tuple(typical))).scores(demand, rows[fits], beside[fits])
    for row, loss in zip(rows[fits].tolist(), lost.tolist(), strict=True):
        view, left = nodes[row], expected[row]
        assert left is not None
        assert beside[row].tolist() == as_row(ledger, view, *left)
        before = {"cpu": int(view.capacity["cpu"] * WHOLE), "mem": int(view.capacity["mem"])}
        whole = [WHOLE if device.healthy else -1 for device in view.devices]
        assert loss == worth(view, before, whole, typical) - worth(view, *left, typical)


@settings(max_examples=100)
@given(nodes=clusters(), wanted=st.lists(st.tuples(wishes, some_models), min_size=1, max_size=8))
def test_what_is_picked_is_what_was_looked_at(nodes: list[NodeView], wanted: list[tuple[Wish, frozenset[str]]]) -> None:
    """Node by node filled: the devices that a demand is given leave what the look at it said, and what is remembered
    of a node's worth is forgotten when it changes.
    """
    ledger = Ledger.of(nodes)
    rows = np.arange(len(nodes))
    demands = [demand_of(wish, ledger.devices.keys(), models) for wish, models in wanted]
    room = Room(ledger, ledger.copy(), tuple((demand, 1) for demand in demands))
    remembering = Packed(room)
    for demand in demands:
        fits, beside = ledger.look(demand, rows)
        fitting = rows[fits]
        lost = remembering.scores(demand, fitting, beside[fits])
        assert lost.tolist() == Packed(room).scores(demand, fitting, beside[fits]).tolist()
        if not len(fitting):
            continue
        row = int(fitting[lost.argmin()])
        ledger.take(row, ledger.pick(demand, row).amounts)
        assert ledger.table[row, : len(ledger.slots)].tolist() == beside[row, : len(ledger.slots)].tolist()
        for of_slot in ledger.devices.values():
            left = sorted(ledger.table[row, of_slot.columns].tolist())
            assert left == sorted(beside[row, of_slot.columns].tolist())


def picked(view: NodeView, wanted: DeviceDemand, models: frozenset[str]) -> list[str]:
    """The IDs of the devices that a node which nobody uses gives for a wish."""
    here = [device for device in view.devices if device.slot == wanted.slot]
    free = [WHOLE if device.healthy and (not models or device.model in models) else -1 for device in here]
    found: list[int] = []
    for part in wanted.parts:
        able = [i for i, left in enumerate(free) if left >= part and part % (WHOLE // here[i].shares) == 0]
        found.append(min(able, key=lambda i: free[i]))
        free[found[-1]] -= part
    missing = wanted.whole
    while missing:
        of_numa: dict[int | None, list[int]] = {}
        for i, left in enumerate(free):
            if left == WHOLE:
                of_numa.setdefault(here[i].numa_node, []).append(i)
        enough = [places for places in of_numa.values() if len(places) >= missing]
        places = min(enough, key=len) if enough else max(of_numa.values(), key=len)
        for i in places[:missing]:
            free[i] = 0
            found.append(i)
            missing -= 1
    return [here[i].id for i in found]


@settings(max_examples=200)
@given(view=clusters().map(lambda nodes: nodes[0]), wish=wishes, models=some_models)
def test_devices_are_picked_from_as_few_numa_nodes_as_possible(
    view: NodeView, wish: Wish, models: frozenset[str]
) -> None:
    ledger = Ledger.of([view])
    demand = demand_of(wish, ledger.devices.keys(), models)
    if {slot for slot, _ in demand.counts} - {"cpu", "mem"} or after(view, demand) is None:
        assert ledger.fits(demand, np.arange(1)).tolist() == [False]
        return
    picks = ledger.pick(demand, 0).picks
    assert [pick.amount for pick in picks] == [
        amount for wanted in demand.devices for amount in (*wanted.parts, *[WHOLE] * wanted.whole)
    ]
    expected = [id_ for wanted in demand.devices for id_ in picked(view, wanted, models)]
    assert [ledger.device_id(0, pick) for pick in picks] == expected


class AskedInTurn:
    """A selector that is asked for its scores and its ties."""

    def __init__(self, selector: Selector) -> None:
        self.scores = selector.scores
        self.ties = selector.ties


@settings(max_examples=100)
@given(
    nodes=clusters(), wanted=st.lists(st.tuples(wishes, some_models), min_size=1, max_size=4), times=st.integers(1, 4)
)
def test_who_searches_himself_finds_what_scores_and_ties_say(
    nodes: list[NodeView], wanted: list[tuple[Wish, frozenset[str]]], times: int
) -> None:
    ledger = Ledger.of(nodes)
    demands = [demand_of(wish, ledger.devices.keys(), models) for wish, models in wanted]
    room = Room(ledger, ledger.copy(), tuple((demand, 1) for demand in demands))
    searching, asked = Finder(ledger, Packed(room)), Finder(ledger, AskedInTurn(Packed(room)))
    able = [np.flatnonzero(ledger.fits(demand, np.arange(len(nodes)))) for demand in demands]
    shapes = [Eligible(demand, rows, len(nodes)) for demand, rows in zip(demands, able, strict=True)]
    for shape in shapes * times:
        row = searching.find(shape)
        assert row == asked.find(shape)
        if row is not None:
            ledger.take(row, ledger.pick(shape.demand, row).amounts)


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([], -1),
        ([math.inf, math.inf], -1),
        ([3.0, 1.0, 2.0, 1.0], 3),
        ([math.inf, 0.0, -0.0], 1),
        ([-math.inf, 0.0, -math.inf], 2),
    ],
)
def test_the_best_is_the_lowest_then_the_tightest_then_the_first(scores: list[float], found: int) -> None:
    left = np.array([[9], [3], [3], [2]], np.int64)
    parts, largest = np.array([[0, 0]], np.int64), np.array([1.0])
    assert kernels.best(np.array(scores, np.float64), np.arange(len(scores)), left, parts, largest) == found


def test_what_is_spare_is_a_sum_of_shares_of_the_largest_node() -> None:
    gpu = Device("0", "cuda.shares", "A100", shares=10)
    ledger = Ledger.of([node("large", 8, 16, gpu, replace(gpu, id="1")), node("small", 2, 4, gpu)])
    ties = Packed(Room(ledger, ledger)).ties(demand_of([slots(gib=1)], ledger.devices.keys()), np.arange(2))
    assert ledger.left("mem", np.arange(2)).tolist() == [16 * GIB, 4 * GIB]
    assert ties.tolist() == [3.0, 0.25 + 0.25 + 0.5]


def test_devices_that_are_not_there_are_not_picked() -> None:
    ledger = Ledger.of([node("a", 8, 8, *gpus(2))])
    for wish in (slots(cuda_shares=3), slots(cuda_shares=0.25)):
        with pytest.raises(ValueError, match="a has not the devices"):
            ledger.pick(demand_of([wish], ledger.devices.keys()), 0)


def test_more_parts_than_a_node_has_devices_are_picked_of_one() -> None:
    ledger = Ledger.of([node("a", 8, 8, *gpus(1))])
    demand = demand_of([slots(cuda_shares=0.1)] * 10, ledger.devices.keys())
    assert Counter(ledger.device_id(0, pick) for pick in ledger.pick(demand, 0).picks) == {"GPU-0": 10}


OWN = Path(str(kernels.__file__)).parent
DECIDES = """
import sys
sys.path.insert(0, sys.argv[1])
import arrays
sys.modules["caravan_manager.scheduler.arrays"] = arrays
import numpy as np
import kernels
none = np.zeros(0, np.int64)
fixed = getattr(arrays, sys.argv[2])(*[np.zeros((1, 1), np.int64)] * 3)
want = arrays.Want(np.ones(1, np.int64), np.zeros(0, arrays.WISH), none, np.ones(0, np.bool_), 0, 1)
print(kernels.fitting(np.ones((1, 1), np.int64), fixed, np.zeros(1, np.int64), want).tolist(), kernels._KEPT_IN)
"""


@pytest.mark.parametrize("writable", [True, False])
def test_what_was_compiled_of_other_sources_is_left_alone(tmp_path: Path, writable: bool) -> None:
    """It may name types that are not there any more: reading it would fail."""
    package, home = tmp_path / "package", tmp_path / "home"
    package.mkdir()
    if not writable:
        (package / "__pycache__").write_text("no folder")
    folders = set[str]()
    for name in ("Fixed", "Unchanging"):
        for module in ("kernels.py", "arrays.py"):
            (package / module).write_text((OWN / module).read_text().replace("Fixed", name))
        ran = subprocess.run(
            [sys.executable, "-B", "-c", DECIDES, package, name],
            capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "XDG_CACHE_HOME": str(home)},
        )  # fmt: skip
        said, _, folder = ran.stdout.strip().partition("] ")
        assert said == "[True"
        folders.add(folder)
    kept_in = package / "__pycache__" if writable else home / "caravan"
    assert {Path(folder).parent for folder in folders} == {kept_in}
    assert len(folders) == 2
    assert len(list(kept_in.rglob("*.nbi"))) >= 2


def test_who_imports_the_planner_does_not_wait_for_the_compiler_but_a_warm_up_does() -> None:
    script = "import sys; from caravan_manager import cli; assert 'numba' not in sys.modules; print('ok')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).stdout == b"ok\n"
    assert warm.decide() == ("a", "0")
