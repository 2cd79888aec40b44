"""Cross-origin requests: browsers may call the API from any page, because requests are signed and carry no cookie."""

from aiohttp import web

from caravan_common.errors import CaravanError, ForbiddenError, UnknownPathError
from caravan_common.http import PROBLEM, Handler

_ALWAYS_READABLE = frozenset(
    {"Cache-Control", "Content-Language", "Content-Type", "Expires", "Last-Modified", "Pragma", "Vary"}
)
"""What a page may read of any answer without being told so."""


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a browser that asks before it sends: whether the path takes the method. Must be before authentication."""
    method = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or method is None or "Origin" not in request.headers:
        return await handler(request)
    refusal = await _refusal(request, method)
    if refusal is not None:
        return request.app[PROBLEM](request, refusal)
    answer = web.Response(headers={"Access-Control-Allow-Methods": method})
    wanted = request.headers.get("Access-Control-Request-Headers")
    if wanted:
        answer.headers["Access-Control-Allow-Headers"] = wanted.upper()
    return answer


async def _refusal(request: web.Request, method: str) -> CaravanError | None:
    found = (await request.app.router.resolve(request.clone(method=method))).http_exception
    if found is None:
        return None
    if found.status == 404:
        return UnknownPathError(data=request.path)
    return ForbiddenError(f"CORS preflight request failed: request method {method!r} is not allowed")


async def share(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page that asks read the answer, whatever it is. A signal, so that streams and errors have it, too."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    headers = response.headers
    readable = sorted({name for name in headers if name not in _ALWAYS_READABLE and not name.startswith("Access-")})
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = ",".join(readable)
    headers["Vary"] = "Origin"
