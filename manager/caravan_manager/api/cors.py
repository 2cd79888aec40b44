"""Cross-origin requests: browsers may call the API from any page, because requests are signed and carry no cookie."""

from aiohttp import web

from caravan_common.http import Handler

ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = "*"


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflight requests, and let every origin read the answers."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response: web.StreamResponse = web.Response()
        response.headers["Access-Control-Allow-Methods"] = ALLOWED
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
    else:
        response = await handler(request)
    if not response.prepared:
        response.headers.update(cors_headers(request))
    return response


def cors_headers(request: web.Request) -> dict[str, str]:
    """Return what lets the page that asks read the answer; for streams, whose headers are sent before their end."""
    origin = request.headers.get("Origin")
    if origin is None:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}
