"""Who asks: every request but those to anonymous routes must be signed; the middleware finds the caller."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web

from caravan_common.errors import (
    AuthorizationFailedError,
    InvalidAuthParametersError,
    InvalidParametersError,
    MethodNotAllowedError,
    TooManyRequestsError,
    UnsupportedVersionError,
)
from caravan_common.http import Handler
from caravan_manager.api.context import LIMITS, PEOPLE, PRINCIPAL, PROXIES, STANDING
from caravan_manager.api.delegation import acting
from caravan_manager.api.limits import (
    ANONYMOUS_LIMIT,
    WINDOW_SECONDS,
    Standing,
    subject_of_address,
    subject_of_keypair,
)
from caravan_manager.api.origin import Origin
from caravan_manager.api.signature import (
    SignedRequest,
    check_date,
    parse_authorization,
    signature_matches,
)
from caravan_manager.api.tokens import check_token, named_access_key
from caravan_manager.api.version import check_version
from caravan_manager.people.model import Credentials, Principal

Door = TypeVar("Door", bound=Callable[..., object])

TOKEN = "X-BackendAI-Token"  # noqa: S105  # the name of a header
OVERRIDE = "X-Method-Override"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_ANONYMOUS: set[object] = set()
_UNLIMITED = "/health"


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
    """Find the caller of a signed request, keep them under PRINCIPAL, and hold everybody to their rate.

    Must be the last middleware, because ``X-Method-Override`` replaces request and handler here: the signature covers
    the method that is meant.
    """
    if OVERRIDE in request.headers:
        sent, (request, handler) = request, await _overridden(request)
        try:
            return await _admitted(request, handler)
        finally:
            if STANDING in request:
                sent[STANDING] = request[STANDING]
    return await _admitted(request, handler)


async def _admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    if any("\0" in part for part in request.match_info.values()):
        raise InvalidParametersError("the path holds a NUL character")
    origin = request.app[PROXIES].origin(request)
    if is_anonymous(request):
        if request.path != _UNLIMITED:
            _count_anonymous(request, origin)
        return await handler(request)
    try:
        principal = await identify(request, origin, datetime.now(UTC))
    except (AuthorizationFailedError, InvalidAuthParametersError, UnsupportedVersionError):
        _count_anonymous(request, origin)
        raise
    _count(request, subject_of_keypair(principal.access_key), principal.rate_limit)
    request[PRINCIPAL] = await acting(request, principal)
    return await handler(request)


def _count_anonymous(request: web.Request, origin: Origin) -> None:
    _count(request, subject_of_address(origin.address), ANONYMOUS_LIMIT)


def _count(request: web.Request, subject: str, limit: int) -> None:
    try:
        request[STANDING] = request.app[LIMITS].admit(subject, limit)
    except TooManyRequestsError:
        request[STANDING] = Standing(limit, 0, WINDOW_SECONDS)
        raise


async def identify(request: web.Request, origin: Origin, now: datetime) -> Principal:
    """Return who signed the request. Raises InvalidAuthParametersError or AuthorizationFailedError."""
    token = request.headers.get(TOKEN)
    found = await (_signer(request, origin, now) if token is None else _bearer(request, token, now))
    found.must_be_usable()
    found.must_come_from(origin.address)
    return found.principal


async def _bearer(request: web.Request, token: str, now: datetime) -> Credentials:
    found, secret_key = await request.app[PEOPLE].credentials(named_access_key(token))
    check_token(token, secret_key, found.principal.role.value, now)
    return found


async def _signer(request: web.Request, origin: Origin, now: datetime) -> Credentials:
    headers = request.headers
    date = headers.get("Date") or headers.get("X-BackendAI-Date") or headers.get("X-Sorna-Date")
    signed_at = check_date(date, now)
    header = headers.get("Authorization")
    if header is None:
        raise AuthorizationFailedError("Unauthorized access")
    authorization = parse_authorization(header)
    version = headers.get("X-BackendAI-Version")
    signed = SignedRequest(
        method=request.method,
        raw_path=origin.raw_path,
        date=date or "",
        host=origin.host,
        content_type=_content_type(request),
        version=check_version(version or headers.get("X-Sorna-Version")),
        brand="sorna" if version is None else "backendai",
    )
    found, secret_key = await request.app[PEOPLE].credentials(authorization.access_key)
    if not signature_matches(signed, signed_at, secret_key, authorization):
        raise AuthorizationFailedError("Signature mismatch")
    return found


def _content_type(request: web.Request) -> str:
    """Return the signed content type: without parameters, and octet-stream where the client sent none."""
    sent = request.headers.get("Content-Type", "application/octet-stream")
    return sent.partition(";")[0].strip().lower()


async def _overridden(request: web.Request) -> tuple[web.Request, Handler]:
    """Return the request with the method of ``X-Method-Override``, and the handler of the route that it then has."""
    method = request.headers[OVERRIDE].upper()
    if method not in _METHODS:
        raise MethodNotAllowedError
    meant = request.clone(method=method)
    found = await request.app.router.resolve(meant)
    found.add_app(request.app)
    found.freeze()
    meant._match_info = found  # pyright: ignore[reportPrivateUsage]  # aiohttp has no other way to route again
    return meant, found.handler
