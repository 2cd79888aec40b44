"""Resource slots: how each is counted and shown, and in which parts it is given."""

from fractions import Fraction
from itertools import count

import pytest

from caravan_manager.nodes.slots import quantum, slot_details, slot_types, together

NAMES = (
    "cpu mem cuda.device cuda.shares rocm.device tpu.device ipu.device atom.device atom-plus.device atom-max.device"
    " gaudi.device gaudi2.device warboy.device rngd.device hyperaccel-lpu.device tt-n300.device xpu.device"
)
"""Backend.AI's."""


def test_every_slot_of_backend_ai_has_a_type_and_a_name_for_people() -> None:
    names = NAMES.split()
    types = slot_types([*names, "cuda.device:1g.10gb-mig"])
    assert {slot: kind for slot, kind in types.items() if kind != "count"} == {
        "mem": "bytes",
        "cuda.device:1g.10gb-mig": "unique",
    }
    details = slot_details(names, {})
    assert set(details) == set(names)
    assert all(shown["human_readable_name"] != shown["slot_name"] for shown in details.values())
    assert details["xpu.device"]["display_unit"] == "XPU"


@pytest.mark.parametrize(
    ("divisions", "size"),
    [
        ({}, None),
        ({"cuda.device": {1}, "cuda.device:1g.10gb-mig": {1}}, None),
        ({"cuda.shares": {20}}, 0.05),
        ({"cuda.shares": {1}}, 1.0),
        ({"cuda.shares": {1, 20}}, 1.0),
        ({"mock.device": {1, 20}}, 1.0),
        ({"cuda.shares": {20, 50}}, 0.1),
        ({"cuda.shares": {20, 25}}, 0.2),
        ({"cuda.shares": {100}, "mock.device": {10}, "atom.device": {1}}, 0.1),
        ({"cuda.shares": {20}, "mock.device": {50}}, 0.1),
    ],
)
def test_the_quantum_is_what_every_device_gives(divisions: dict[str, set[int]], size: float | None) -> None:
    assert quantum({slot: frozenset(shares) for slot, shares in divisions.items()}) == size


@pytest.mark.parametrize("shares", [{20, 50}, {8, 20}, {10, 25, 100}, {1, 50}])
def test_there_is_no_smaller_part_that_every_device_gives(shares: set[int]) -> None:
    """A device takes an amount of which its shares make a whole number, as the agent checks it."""
    parts = (Fraction(number, 1000) for number in count(1))
    least = next(part for part in parts if all((part * of).denominator == 1 for of in shares))
    assert quantum({"cuda.shares": frozenset(shares)}) == float(least)


def test_only_what_is_given_in_parts_is_shown_with_its_quantum() -> None:
    groups = [{"cuda.shares": frozenset({20}), "atom.device": frozenset({1})}, {"cuda.shares": frozenset({50})}]
    details = slot_details(["cuda.shares", "atom.device"], together(groups))
    assert {slot: shown.get("quantum_size") for slot, shown in details.items()} == {
        "cpu": None,
        "mem": None,
        "cuda.shares": 0.1,
        "atom.device": None,
    }
    assert "quantum_size" not in details["atom.device"]
