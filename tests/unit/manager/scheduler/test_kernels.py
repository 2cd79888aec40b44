"""The compiled loops against the same rules in plain Python, on made-up nodes with devices of all sorts."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import GIB, node, slots

from caravan_common.slots import ResourceSlots
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler import kernels, warm
from caravan_manager.scheduler.demand import WHOLE, Demand, demand_of
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.scheduler.selectors.packed import EVEN, Packed
from caravan_manager.scheduler.selectors.selector import Room
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
        ledger.move(demand, row, ledger.pick(demand, row), -1)
        assert ledger.table[row, : len(ledger.slots)].tolist() == beside[row, : len(ledger.slots)].tolist()
        for of_slot in ledger.devices.values():
            left = sorted(ledger.table[row, of_slot.columns].tolist())
            assert left == sorted(beside[row, of_slot.columns].tolist())


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([], []),
        ([math.inf, math.inf], []),
        ([3.0, 1.0, 2.0, 1.0], [11, 13]),
        ([math.inf, 0.0, -0.0], [11, 12]),
        ([-math.inf, 0.0, -math.inf], [10, 12]),
    ],
)
def test_the_rows_with_the_lowest_score_are_found_in_order(scores: list[float], found: list[int]) -> None:
    assert kernels.lowest(np.array(scores), np.arange(10, 10 + len(scores))).tolist() == found


def test_what_is_spare_is_a_sum_of_shares_of_the_largest_node() -> None:
    gpu = Device("0", "cuda.shares", "A100", shares=10)
    ledger = Ledger.of([node("large", 8, 16, gpu, replace(gpu, id="1")), node("small", 2, 4, gpu)])
    ties = Packed(Room(ledger, ledger)).ties(demand_of([slots(gib=1)], ledger.devices.keys()), np.arange(2))
    assert ledger.left("mem", np.arange(2)).tolist() == [16 * GIB, 4 * GIB]
    assert ties.tolist() == [3.0, 0.25 + 0.25 + 0.5]


def test_who_imports_the_planner_does_not_wait_for_the_compiler_but_a_warm_up_does() -> None:
    script = "import sys; from caravan_manager import cli; assert 'numba' not in sys.modules; print('ok')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).stdout == b"ok\n"
    assert warm.decide() == 0
