"""``X-BackendAI-Token``: a short-lived JWT that a gateway makes for a user, signed with the user's secret key. Pure."""

import re
from datetime import datetime
from typing import Any

from jwt import (
    PyJWTError,
    decode,  # pyright: ignore[reportUnknownVariableType]  # partly untyped
)
from jwt.types import Options

from caravan_common.errors import AuthorizationFailedError
from caravan_manager.api.signature import MAX_SKEW

_ALGORITHMS = ["HS256"]
_ACCESS_KEY = re.compile(r"[!-~]{1,64}")
_CLAIMS = ["exp", "iat", "access_key", "role"]
_UNTIMED: Options = {"require": _CLAIMS, "verify_exp": False, "verify_iat": False}


def named_access_key(token: str) -> str:
    """Return the access key that a token names; nothing is verified yet. Raises AuthorizationFailedError."""
    try:
        claims: dict[str, Any] = decode(token, options={"verify_signature": False})
    except (PyJWTError, ValueError) as err:
        raise AuthorizationFailedError("Invalid token") from err
    access_key = claims.get("access_key")
    if not isinstance(access_key, str) or _ACCESS_KEY.fullmatch(access_key) is None:
        raise AuthorizationFailedError("Invalid token")
    return access_key


def check_token(token: str, secret_key: str, role: str, now: datetime) -> None:
    """Raise AuthorizationFailedError unless the secret key made the token, for this role, and it holds ``now``."""
    try:
        claims: dict[str, Any] = decode(token, secret_key, algorithms=_ALGORITHMS, options=_UNTIMED)
    except (PyJWTError, ValueError) as err:
        raise AuthorizationFailedError("Invalid token") from err
    expires, issued = claims["exp"], claims["iat"]
    if not isinstance(expires, int | float) or not isinstance(issued, int | float) or claims["role"] != role:
        raise AuthorizationFailedError("Invalid token")
    if expires <= now.timestamp():
        raise AuthorizationFailedError("Token has expired")
    if issued > (now + MAX_SKEW).timestamp():
        raise AuthorizationFailedError("Invalid token")
