"""Requests are signed as the official clients sign them, and nothing else passes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from caravan_common.errors import InvalidAuthParametersError, UnsupportedVersionError
from caravan_manager.api.signature import (
    SignedRequest,
    check_date,
    parse_authorization,
    parse_date,
    sign,
    signature_matches,
)
from caravan_manager.api.version import api_version, check_version

DATE = "2026-11-21T09:00:00+00:00"
SIGNED_AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
REQUEST = SignedRequest(
    method="GET",
    raw_path="/folders/_/id?x=1",
    date=DATE,
    host="api.example.com:8081",
    content_type="application/json",
    version="v9.20250722",
)
SIGNATURE = "f50bc2e5b651eff35327b5795c5643a614b44aaa0f56f04d025a0d7d551b16bc"


def test_the_signature_is_the_one_that_client_26_9_6_makes() -> None:
    assert sign(REQUEST, SIGNED_AT, "SECRETKEY", "sha256") == SIGNATURE


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"raw_path": "/folders/_/id?x=2"},
        {"host": "api.example.com"},
        {"content_type": "text/plain"},
        {"version": "v8.20240915"},
        {"date": "2026-11-21T09:00:01+00:00"},
    ],
)
def test_a_change_of_any_signed_part_breaks_the_signature(change: dict[str, str]) -> None:
    header = f"BackendAI signMethod=HMAC-SHA256, credential=AKIAEXAMPLE:{SIGNATURE}"
    authorization = parse_authorization(header)
    assert signature_matches(REQUEST, SIGNED_AT, "SECRETKEY", authorization)
    assert not signature_matches(replace(REQUEST, **change), SIGNED_AT, "SECRETKEY", authorization)
    assert not signature_matches(REQUEST, SIGNED_AT, "ANOTHERKEY", authorization)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic dXNlcjpwYXNz",
        "BackendAI",
        "BackendAI signMethod=HMAC-SHA256",
        "BackendAI signMethod=RSA-SHA256, credential=AK:" + "0" * 64,
        "BackendAI signMethod=HMAC-CRC32, credential=AK:" + "0" * 64,
        "BackendAI signMethod=HMAC-SHA256, credential=AK:not-hex",
        "BackendAI signMethod=HMAC-SHAKE_256, credential=AK:" + "0" * 64,
    ],
)
def test_a_malformed_authorization_is_refused(header: str) -> None:
    with pytest.raises(InvalidAuthParametersError):
        parse_authorization(header)


def test_the_older_spelling_of_the_scheme_is_understood() -> None:
    parsed = parse_authorization(f"Sorna signMethod=HMAC-SHA256, credential=AKIAEXAMPLE:{SIGNATURE}")
    assert parsed.access_key == "AKIAEXAMPLE"


def test_clients_that_send_the_older_version_header_sign_its_name() -> None:
    older = replace(REQUEST, brand="sorna")
    assert sign(older, SIGNED_AT, "SECRETKEY", "sha256") != SIGNATURE


def test_the_day_of_the_key_is_the_one_in_the_dates_own_time_zone() -> None:
    written = "2026-11-22T01:00:00+09:00"
    far = parse_date(written)
    assert far == datetime(2026, 11, 21, 16, tzinfo=UTC)
    assert sign(REQUEST, far, "SECRETKEY", "sha256") != sign(REQUEST, far.astimezone(UTC), "SECRETKEY", "sha256")


@pytest.mark.parametrize("text", ["Sat, 21 Nov 2026 09:00:00 GMT", DATE, "2026-11-21T09:00:00Z", "2026-11-21T09:00:00"])
def test_dates_are_read_in_the_forms_that_clients_send(text: str) -> None:
    assert parse_date(text) == SIGNED_AT


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-11-21T08:44:59+00:00", "2026-11-21T09:15:01+00:00"])
def test_a_missing_or_stale_date_is_refused(text: str | None) -> None:
    with pytest.raises(InvalidAuthParametersError, match="Date/time sync error"):
        check_date(text, SIGNED_AT)


def test_a_date_at_the_limit_passes() -> None:
    assert check_date(DATE, SIGNED_AT + timedelta(minutes=15)) == SIGNED_AT


@pytest.mark.parametrize("text", ["v3.20170615", "8", "v8", "latest", "v8.2024"])
def test_an_old_or_unknown_version_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedVersionError):
        check_version(text)


def test_a_missing_version_is_refused_as_a_missing_parameter() -> None:
    with pytest.raises(InvalidAuthParametersError, match="API version missing"):
        check_version(None)


def test_the_protocol_version_follows_the_reported_manager_version() -> None:
    assert api_version("25.5.2") == "v8.20240915"
    assert api_version("26.9.6") == "v9.20250722"


def test_bytes_that_are_no_text_can_be_signed_and_are_no_access_key() -> None:
    request = SignedRequest("GET", "/", "now", "a\udcff", "\udcff", "v8.20240915")

    assert sign(request, datetime(2026, 1, 1, tzinfo=UTC), "secret", "sha256")
    with pytest.raises(InvalidAuthParametersError):
        parse_authorization("BackendAI signMethod=HMAC-SHA256, credential=\udcff:0123456789abcdef")
