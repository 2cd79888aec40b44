"""Durations and moments are read as the protocol's clients write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_common.errors import InvalidParametersError
from caravan_manager.sessions.durations import LONGEST, parse_duration, parse_moment

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1h", 3600),
        ("30m", 1800),
        ("1d1hr", 90_000),
        ("2hours 15min", 8100),
        ("20sec", 20),
        ("300", 300),
        (90, 90),
        (1.5, 1.5),
        ("1.5h", 5400),
        ("1w", 604_800),
        ("+10s", 10),
        ("-1day", -86_400),
        (0, 0),
    ],
)
def test_a_duration_is_amounts_with_units(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ["", "-", "x", "1x", "h", "1e5", "--1", "1h-1m", True, None, "nan", float("inf"), "9" * 400, [1], "1mo"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(InvalidParametersError):
        parse_duration(written)


@given(st.text(max_size=64))
def test_any_text_is_a_moment_or_refused(written: str) -> None:
    try:
        moment = parse_moment(written, NOW)
    except InvalidParametersError:
        return
    assert moment.tzinfo is not None


@given(st.integers(0, int(LONGEST.total_seconds())))
def test_seconds_are_read_exactly(seconds: int) -> None:
    assert parse_moment(f"{seconds}s", NOW) == NOW + timedelta(seconds=seconds)


def test_a_moment_without_a_time_zone_is_utc() -> None:
    assert parse_moment("2026-11-22T09:00:00", NOW) == datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert parse_moment("2026-11-22T09:00:00+09:00", NOW) == datetime(2026, 11, 22, tzinfo=UTC)
