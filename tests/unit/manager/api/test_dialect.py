"""Errors look as the reported manager's do."""

import pytest

from caravan_common.errors import (
    AuthorizationFailedError,
    CaravanError,
    InvalidParametersError,
    QuotaExceededError,
    UnsignedRequestError,
)
from caravan_manager.api.dialect import Dialect

OLDER, NEWER = Dialect.of("25.5.2"), Dialect.of("26.9.6")


@pytest.mark.parametrize(
    ("error", "older", "newer"),
    [
        (AuthorizationFailedError(), (401, "auth-failed"), (401, "auth-failed")),
        (UnsignedRequestError(), (400, "invalid-auth-params"), (401, "auth-failed")),
        (InvalidParametersError(), (400, "invalid-api-params"), (400, "generic-bad-request")),
        (QuotaExceededError(), (412, "quota-exceeded"), (400, "quota-exceeded")),
        (CaravanError(), (500, "internal-server-error"), (500, "internal-server-error")),
    ],
)
def test_status_and_type_follow_the_version(
    error: CaravanError, older: tuple[int, str], newer: tuple[int, str]
) -> None:
    for dialect, expected in ((OLDER, older), (NEWER, newer)):
        status, document = dialect.problem(error)
        assert (status, str(document["type"]).rpartition("/")[2]) == expected


def test_only_26_gives_error_codes() -> None:
    assert "error_code" not in OLDER.problem(AuthorizationFailedError())[1]
    assert NEWER.problem(AuthorizationFailedError())[1]["error_code"] == "user_auth_unauthorized"


@pytest.mark.parametrize(("version", "is_26"), [("23.9.10", False), ("26.1.0", True), ("27.0.0", True), ("dev", False)])
def test_the_version_decides(version: str, is_26: bool) -> None:
    assert Dialect.of(version).is_26 is is_26
