"""A range is answered exactly, or with the whole file, or refused: never with other bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_storage.transfers.ranges import Slice, Version, choose

VERSION = Version(size=10, modified_ns=1_800_000_000 * 10**9 + 5, identity=7)
WHOLE = Slice(200, 0, 10)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, WHOLE),
        ("bytes=0-", Slice(206, 0, 10)),
        ("bytes=3-5", Slice(206, 3, 3)),
        ("bytes=9-100", Slice(206, 9, 1)),
        ("bytes=-3", Slice(206, 7, 3)),
        ("bytes=-30", Slice(206, 0, 10)),
        ("bytes=-0", Slice(416, 0, 0)),
        ("bytes=10-", Slice(416, 0, 0)),
        ("bytes=5-3", WHOLE),
        ("bytes=0-1,3-4", WHOLE),
        ("bytes=-", WHOLE),
        ("lines=1-2", WHOLE),
        ("bytes=a-b", WHOLE),
    ],
)
def test_a_range_means_what_the_standard_says(header: str | None, wanted: Slice) -> None:
    assert choose(VERSION, header, None) == wanted


@pytest.mark.parametrize(
    ("validator", "same"),
    [
        (VERSION.etag, True),
        (VERSION.last_modified, True),
        ("W/" + VERSION.etag, False),
        ('"other"', False),
        ("Thu, 01 Jan 1970 00:00:00 GMT", False),
        ("Thu, 01 Jan 1970 00:00:00 -0000", False),
        ("nonsense", False),
    ],
)
def test_a_range_of_another_version_is_the_whole_file(validator: str, same: bool) -> None:
    assert choose(VERSION, "bytes=3-", validator) == (Slice(206, 3, 7) if same else WHOLE)


@given(st.integers(0, 100), st.integers(0, 120), st.integers(0, 120))
def test_a_slice_is_what_python_would_cut(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    found = choose(Version(size, 0, 0), f"bytes={first}-{last}", None)
    sent = content[found.start : found.start + found.length]
    assert len(sent) == found.length
    if found.status == 206:
        assert sent == content[first : last + 1]
    elif found.status == 416:
        assert first >= size
    else:
        assert sent == content


@given(st.text(max_size=30))
def test_any_header_has_an_answer(header: str) -> None:
    assert choose(VERSION, "bytes=" + header, header).status in (200, 206, 416)
