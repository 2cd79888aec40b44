"""Who may use the agent's TCP door: whoever shows the token."""

import hmac

from aiohttp import web

from caravan_common.errors import AuthorizationFailedError
from caravan_common.http import Handler, Middleware

OPEN_PATHS = frozenset({"/health"})


def bearer(token: str) -> Middleware:
    """Return a middleware that lets only requests with the token through, compared in constant time."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if request.path not in OPEN_PATHS and not hmac.compare_digest(shown, expected):
            raise AuthorizationFailedError("this API needs the agent's token")
        return await handler(request)

    return check
