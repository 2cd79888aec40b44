"""Slots are exact, and refuse what is no amount."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots, parse_bytes

AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "cuda.device", "cuda.shares"]),
    st.decimals(min_value=0, max_value=10**12, places=2, allow_nan=False),
).map(ResourceSlots)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256m", 2**28), ("1g", 2**30), ("1.5G", 3 * 2**29), ("268435456", 2**28), ("64MiB", 2**26), ("0", 0)],
)
def test_a_size_is_read_in_binary_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1g", "1x", "1 g b", "nan", "1e9", "${cpu}"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        parse_bytes(text)


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-1", "", "one", True, None, [], 2**70, "1e-7", "1e-999999", "1e999999"]
)
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(InvalidParametersError):
        ResourceSlots.parse({"cpu": value})


@pytest.mark.parametrize(
    "name", ["", "CPU", "cpu cores", "../mem", "${cpu}", "a.b.c", "cuda.device:", "cuda:mig", "a.b:c:d"]
)
def test_what_is_no_slot_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError):
        ResourceSlots.parse({name: "1"})


@given(AMOUNTS, AMOUNTS)
def test_what_is_added_can_be_taken_away_exactly(one: ResourceSlots, other: ResourceSlots) -> None:
    rest = (one + other) - other
    assert all(rest[name] == one.get(name, Decimal(0)) for name in rest)


@given(AMOUNTS, AMOUNTS)
def test_a_part_fits_in_the_sum(one: ResourceSlots, other: ResourceSlots) -> None:
    assert one.fits_in(one + other)


@given(AMOUNTS)
def test_the_wire_form_reads_back_as_the_same_amounts(slots: ResourceSlots) -> None:
    assert ResourceSlots.parse(slots.to_json()) == slots


def test_a_partition_of_a_device_is_a_slot_of_its_own() -> None:
    assert ResourceSlots.parse({"cuda.device:1g.10gb-mig": 2}).to_json() == {"cuda.device:1g.10gb-mig": "2"}
