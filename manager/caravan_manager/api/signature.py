"""Backend.AI's request signature (HMAC, version 4): what is signed, and what it is checked against. Pure.

Source: the protocol as the official clients speak it; the test vector is in the tests.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache

from caravan_common.errors import InvalidAuthParametersError, UnsignedRequestError

MAX_SKEW = timedelta(minutes=15)
RAW = "surrogateescape"
"""How bytes of headers that are no UTF-8 stand in text."""
_SCHEMES = ("BackendAI", "Sorna")
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_512", "sha1", "md5", "blake2b"})
_CREDENTIAL = re.compile(r"^(?P<key>[!-9;-~]{1,64}):(?P<signature>[0-9a-f]{16,256})$")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that its signature covers, exactly as they were sent."""

    method: str
    raw_path: str
    """Path and query, percent-encoding untouched."""
    date: str
    host: str
    content_type: str
    version: str
    brand: str = "backendai"
    """``sorna`` for clients that send ``X-Sorna-Version``."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parsed Authorization header."""

    algorithm: str
    access_key: str
    signature: str


def parse_authorization(header: str) -> Authorization:
    """Read ``BackendAI signMethod=HMAC-SHA256, credential=<key>:<signature>``. Raises InvalidAuthParametersError."""
    scheme, space, rest = header.partition(" ")
    if not space:
        raise InvalidAuthParametersError("Malformed authorization header")
    if scheme not in _SCHEMES:
        raise InvalidAuthParametersError("Invalid authorization type name")
    parts = [part.strip().partition("=") for part in rest.split(",")]
    fields = {name: value for name, _, value in parts}
    method = fields.get("signMethod", "HMAC-SHA256")
    kind, _, algorithm = method.partition("-")
    algorithm = algorithm.lower().replace("-", "_")
    matched = _CREDENTIAL.match(fields.get("credential", ""))
    if kind.upper() != "HMAC" or matched is None:
        raise InvalidAuthParametersError("Missing or malformed authorization parameters")
    if algorithm not in _ALGORITHMS:
        raise InvalidAuthParametersError("Unsupported request signing method")
    return Authorization(algorithm, matched["key"], matched["signature"])


def parse_date(text: str | None) -> datetime | None:
    """Read a Date header (ISO 8601 or RFC 822); a time without zone is UTC. None when it is neither."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def check_date(text: str | None, now: datetime) -> datetime:
    """Return the moment of signing. Raises InvalidAuthParametersError when it is missing or too far from ``now``."""
    moment = parse_date(text)
    if text is None:
        raise UnsignedRequestError("Date/time sync error")
    if moment is None or abs(moment - now) > MAX_SKEW:
        raise InvalidAuthParametersError("Date/time sync error")
    return moment


def sign(request: SignedRequest, signed_at: datetime, secret_key: str, algorithm: str) -> str:
    """Return the signature in hex."""
    text = "\n".join(
        [
            request.method.upper(),
            request.raw_path,
            request.date,
            f"host:{request.host}",
            f"content-type:{request.content_type}",
            f"x-{request.brand}-version:{request.version}",
            _of_nothing(algorithm),
        ]
    )
    of_day = hmac.digest(secret_key.encode(), f"{signed_at:%Y%m%d}".encode(), algorithm)
    of_host = hmac.digest(of_day, request.host.encode(errors=RAW), algorithm)
    return hmac.digest(of_host, text.encode(errors=RAW), algorithm).hex()


@cache
def _of_nothing(algorithm: str) -> str:
    """Return the hash of the body as the signature has it: of none, whatever the body is."""
    return hashlib.new(algorithm, b"").hexdigest()


def signature_matches(
    request: SignedRequest, signed_at: datetime, secret_key: str, authorization: Authorization
) -> bool:
    """Say whether the signature is right, in constant time."""
    expected = sign(request, signed_at, secret_key, authorization.algorithm)
    return hmac.compare_digest(expected, authorization.signature)
