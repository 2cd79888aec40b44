"""Who asks: every request but those to anonymous routes must be signed; the middleware finds the caller."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web

from caravan_common.errors import AuthorizationFailedError, InvalidAuthParametersError
from caravan_common.http import Handler
from caravan_manager.api.context import PEOPLE, PRINCIPAL
from caravan_manager.api.signature import (
    SignedRequest,
    check_date,
    parse_authorization,
    signature_matches,
)
from caravan_manager.api.version import check_version
from caravan_manager.people.model import Principal

Door = TypeVar("Door", bound=Callable[..., object])

_ANONYMOUS: set[object] = set()


def anonymous(door: Door) -> Door:
    """Mark a handler that anybody may call without a signature."""
    _ANONYMOUS.add(door)
    return door


def is_anonymous(request: web.Request) -> bool:
    """Say whether the request's route needs no signature; unknown paths do not either, so that they answer 404."""
    resource = request.match_info.http_exception
    return resource is not None or request.match_info.handler in _ANONYMOUS or request.method == "OPTIONS"


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the caller of a signed request and keep it under PRINCIPAL."""
    if not is_anonymous(request):
        request[PRINCIPAL] = await identify(request, datetime.now(UTC))
    return await handler(request)


async def identify(request: web.Request, now: datetime) -> Principal:
    """Return who signed the request. Raises InvalidAuthParametersError or AuthorizationFailedError."""
    date = _header(request, "Date")
    signed_at = check_date(date, now)
    header = request.headers.get("Authorization")
    if header is None:
        raise InvalidAuthParametersError("Missing authorization header")
    authorization = parse_authorization(header)
    signed = SignedRequest(
        method=request.method,
        raw_path=request.raw_path,
        date=date or "",
        host=request.host,
        content_type=_content_type(request),
        version=check_version(_header(request, "Version")),
    )
    principal, secret_key = await request.app[PEOPLE].credentials(authorization.access_key)
    if not signature_matches(signed, signed_at, secret_key, authorization):
        raise AuthorizationFailedError("Signature mismatch")
    return principal


def _header(request: web.Request, name: str) -> str | None:
    """Return a header by its name with and without Backend.AI's prefixes; browsers may not set ``Date`` itself."""
    spellings = [f"X-BackendAI-{name}", f"X-Sorna-{name}", *(["Date"] if name == "Date" else [])]
    return next((request.headers[spelling] for spelling in spellings if spelling in request.headers), None)


def _content_type(request: web.Request) -> str:
    """Return the signed content type: without parameters, and octet-stream where the client sent none."""
    sent = request.headers.get("Content-Type", "application/octet-stream")
    return sent.partition(";")[0].strip().lower()
