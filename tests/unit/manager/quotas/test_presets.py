"""What a caller could have now is what every budget and one node leave."""

from decimal import Decimal
from uuid import UUID

import pytest

from caravan_common.slots import ResourceSlots
from caravan_manager.quotas.model import NO_LIMIT, SlotLimit
from caravan_manager.quotas.presets import Budget, Offer, Preset, Room, known_slots

KNOWN = ("cpu", "mem")
FREE = Budget.of(NO_LIMIT, ResourceSlots(), KNOWN)


def _slots(cpu: str, mem: str = "0") -> ResourceSlots:
    return ResourceSlots.parse({"cpu": cpu, "mem": mem})


def _preset(slots: ResourceSlots, group: str | None = None) -> Preset:
    return Preset(UUID(int=0), "small", slots, None, group)


def _offer(keypair: Budget = FREE, project: Budget = FREE, others: tuple[Budget, ...] = ()) -> Offer:
    rooms = {
        "a": Room.of(ResourceSlots(), [_slots("2", "4g"), _slots("3", "1g")], KNOWN),
        "b": Room.of(ResourceSlots(), [_slots("9", "9g")], KNOWN),
    }
    return Offer(keypair, project, others, rooms, ())


def test_a_budget_has_an_amount_for_each_known_slot() -> None:
    limited = Budget.of(SlotLimit.parse({"cpu": "4"}), _slots("1", "1g"), KNOWN)
    assert limited.most.to_json() == {"cpu": "4", "mem": "Infinity"}
    assert limited.remaining.to_json() == {"cpu": "3", "mem": "Infinity"}
    nothing_else = Budget.of(SlotLimit.parse({"cpu": "4"}, "LIMITED"), _slots("5"), KNOWN)
    assert nothing_else.remaining == ResourceSlots({"cpu": Decimal(0), "mem": Decimal(0)})


def test_all_nodes_together_are_what_a_group_has_left() -> None:
    assert _offer().remaining == _slots("14", "14g")


@pytest.mark.parametrize(
    ("preset", "allowed"),
    [
        (_preset(_slots("3", "1g"), "a"), True),
        (_preset(_slots("3", "4g"), "a"), False),
        (_preset(_slots("3", "4g")), True),
        (_preset(_slots("10")), False),
        (_preset(_slots("1"), "no-such-group"), False),
        (_preset(ResourceSlots.parse({"cuda.device": "1"})), False),
    ],
)
def test_a_preset_fits_on_one_node_of_a_group_that_offers_it(preset: Preset, allowed: bool) -> None:
    assert _offer().allows(preset) is allowed


def test_a_preset_fits_into_every_budget() -> None:
    tight = Budget.of(SlotLimit.parse({"cpu": "2"}), _slots("1"), KNOWN)
    for offer in (_offer(keypair=tight), _offer(project=tight), _offer(others=(tight,))):
        assert offer.allows(_preset(_slots("1")))
        assert not offer.allows(_preset(_slots("2")))


def test_cpu_and_memory_are_known_without_nodes() -> None:
    assert known_slots([]) == ["cpu", "mem"]
    assert known_slots([ResourceSlots.parse({"cuda.device": "1"})]) == ["cpu", "cuda.device", "mem"]
