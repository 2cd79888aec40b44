"""What Docker sends is read as it is, however it is cut; free subnets are found in a pool."""

from datetime import UTC, datetime
from ipaddress import IPv4Network
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_agent_driver.docker.containers import ContainerEvent, parse_time
from caravan_agent_driver.docker.networks import choose_subnet
from caravan_agent_driver.docker.streams import Frames, Lines

KERNEL = UUID("22222222-2222-4222-8222-222222222222")
POOL = IPv4Network("10.9.0.0/24")


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [*chunks, data]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 20)))
def test_frames_give_what_was_written_however_the_stream_is_cut(writes, sizes) -> None:
    stream = b"".join(b"\x01\0\0\0" + len(write).to_bytes(4) + write for write in writes)
    frames = Frames()

    assert b"".join(frames.feed(chunk) for chunk in _cut(stream, sizes)) == b"".join(writes)


@given(st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and b.strip())), st.lists(st.integers(0, 20)))
def test_lines_are_whole_however_the_stream_is_cut(lines, sizes) -> None:
    cutter = Lines()
    stream = b"".join(line + b"\n" for line in lines)

    assert [line for chunk in _cut(stream, sizes) for line in cutter.feed(chunk)] == lines


def test_an_event_says_which_container_of_which_kernel_ended_when_and_how() -> None:
    event = ContainerEvent.read(
        {
            "Action": "die",
            "Actor": {"ID": "c1", "Attributes": {"ai.caravan.kernel": str(KERNEL), "exitCode": "137"}},
            "timeNano": 1767225600_500000000,
        }
    )

    assert event == ContainerEvent("die", KERNEL, "c1", datetime(2026, 1, 1, 0, 0, 0, 500000, UTC), 137)


@pytest.mark.parametrize("label", ["", "x", "../../etc", None])
def test_an_event_with_another_label_is_about_no_kernel(label) -> None:
    raw = {"Action": "die", "Actor": {"ID": "c", "Attributes": {"ai.caravan.kernel": label}}, "timeNano": 0}

    assert ContainerEvent.read(raw) is None


def test_dockers_times_are_read() -> None:
    assert parse_time("2026-01-01T00:00:00.123456789Z") == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)
    assert parse_time("2026-01-01T01:00:00+01:00") == datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_time("0001-01-01T00:00:00Z") is None


@given(st.uuids(), st.lists(st.integers(0, 255), max_size=20), st.sampled_from([8, 16, 26, 28, 32]))
def test_a_chosen_subnet_is_in_the_pool_and_overlaps_nothing(session, addresses, prefix) -> None:
    used = [IPv4Network((int(POOL.network_address) + a, prefix), strict=False) for a in addresses]

    chosen = choose_subnet(POOL, 28, used, session)

    free = [s for s in POOL.subnets(new_prefix=28) if not any(s.overlaps(network) for network in used)]
    assert chosen in free if free else chosen is None


def test_a_session_asks_for_the_same_subnet_again() -> None:
    assert choose_subnet(POOL, 28, [], KERNEL) == choose_subnet(POOL, 28, [], KERNEL)


def test_sessions_take_other_subnets_until_the_pool_is_full() -> None:
    used: list[IPv4Network] = []
    while (subnet := choose_subnet(POOL, 28, used, KERNEL)) is not None:
        used.append(subnet)

    assert sorted(used) == list(POOL.subnets(new_prefix=28))
