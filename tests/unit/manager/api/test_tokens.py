"""A gateway's token passes while it is valid, was made with the user's secret key, and names the user's role."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from caravan_common.errors import AuthorizationFailedError
from caravan_manager.api.tokens import check_token, named_access_key

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SECRET = "a-secret-key-of-forty-characters-0000000"
CLAIMS = {
    "exp": int((NOW + timedelta(minutes=15)).timestamp()),
    "iat": int(NOW.timestamp()),
    "access_key": "AKIAEXAMPLE",
    "role": "user",
}


def _token(secret: str = SECRET, **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, secret, algorithm="HS256")


def test_a_token_of_the_user_passes() -> None:
    assert named_access_key(_token()) == "AKIAEXAMPLE"
    check_token(_token(), SECRET, "user", NOW)


@pytest.mark.parametrize(
    "token",
    [
        _token("another-secret-key-of-forty-characters-0"),
        _token(role="superadmin"),
        _token(exp=int(NOW.timestamp())),
        _token(exp="tomorrow"),
        _token(iat=int((NOW + timedelta(hours=1)).timestamp())),
        _token(exp=None),
        _token(role=None),
        jwt.encode(CLAIMS, "", algorithm="none"),
        jwt.encode(CLAIMS, SECRET + SECRET, algorithm="HS512"),
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(AuthorizationFailedError):
        check_token(token, SECRET, "user", NOW)


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", _token(access_key=None), _token(access_key="x" * 65)])
def test_a_token_that_names_nobody_is_refused(token: str) -> None:
    with pytest.raises(AuthorizationFailedError):
        named_access_key(token)
