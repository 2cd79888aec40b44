"""Resource slots: how each is counted and shown, and in which parts it is given."""

import pytest

from caravan_manager.nodes.slots import coarsest, quantum, slot_details, slot_types

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
    ("fewest", "size"),
    [
        ({}, None),
        ({"cuda.device": 1, "cuda.device:1g.10gb-mig": 1}, None),
        ({"cuda.shares": 20}, 0.05),
        ({"cuda.shares": 1}, 1.0),
        ({"cuda.shares": 100, "mock.device": 10, "atom.device": 1}, 0.1),
    ],
)
def test_the_quantum_is_a_share_of_the_coarsest_device(fewest: dict[str, int], size: float | None) -> None:
    assert quantum(fewest) == size


def test_only_what_is_given_in_parts_is_shown_with_its_quantum() -> None:
    fewest = coarsest([{"cuda.shares": 20, "atom.device": 1}, {"cuda.shares": 10}])
    details = slot_details(["cuda.shares", "atom.device"], fewest)
    assert {slot: shown.get("quantum_size") for slot, shown in details.items()} == {
        "cpu": None,
        "mem": None,
        "cuda.shares": 0.1,
        "atom.device": None,
    }
    assert "quantum_size" not in details["atom.device"]
