"""The manager's two applications: the API for clients, and the internal one for Prometheus and health checks."""

from aiohttp import web

from caravan_common.consul.catalog import Catalog
from caravan_common.http import PROBLEM, counted, json_response, problems
from caravan_common.metrics import metrics
from caravan_manager.api import context
from caravan_manager.api.auth import anonymous, authenticate
from caravan_manager.api.context import STANDING
from caravan_manager.api.cors import preflight, share
from caravan_manager.api.dialect import Dialect
from caravan_manager.api.graphql import door
from caravan_manager.api.graphql.door import ENGINE, Engine
from caravan_manager.api.graphql.schema import make_schema
from caravan_manager.api.limits import WINDOW_SECONDS
from caravan_manager.api.origin import TrustedProxies
from caravan_manager.api.rest import (
    auth,
    discovery,
    events,
    explanations,
    folders,
    information,
    presets,
    resources,
    sessions,
)
from caravan_manager.api.rest.discovery import CATALOG
from caravan_manager.api.rest.information import IDENTITY, ManagerIdentity
from caravan_manager.wiring import Services

MAX_BODY_BYTES = 4 * 1024 * 1024
_WINDOW = str(WINDOW_SECONDS)


async def _own_headers(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    headers["Server"] = "BackendAI"
    standing = request.get(STANDING)
    if standing is not None:
        headers["X-RateLimit-Limit"] = str(standing.limit)
        headers["X-RateLimit-Remaining"] = str(standing.remaining)
        headers["X-RateLimit-Window"] = _WINDOW


async def _reset_header(request: web.Request, response: web.StreamResponse) -> None:
    standing = request.get(STANDING)
    if standing is not None:
        response.headers["X-RateLimit-Reset"] = str(standing.reset)


async def _close_streams(app: web.Application) -> None:
    app[context.EVENTS].close()


@anonymous
async def health(_request: web.Request) -> web.Response:
    """Answer while the process serves."""
    return json_response({"status": "healthy"})


def make_api(services: Services, identity: ManagerIdentity, proxies: TrustedProxies) -> web.Application:
    """Return the application that clients speak to."""
    dialect = Dialect.of(identity.version)
    app = web.Application(
        middlewares=[counted("manager"), problems, preflight, authenticate], client_max_size=MAX_BODY_BYTES
    )
    app[IDENTITY] = identity
    app[PROBLEM] = dialect.answer
    app[context.PROXIES] = proxies
    app[context.LIMITS] = services.limits
    app[ENGINE] = Engine(make_schema())
    app[context.ACCOUNTS] = services.accounts
    app[context.PEOPLE] = services.people
    app[context.PEOPLE_ADMIN] = services.people_admin
    app[context.SESSIONS] = services.sessions
    app[context.EXPLANATIONS] = services.explanations
    app[context.EVENTS] = services.events
    app[context.VFOLDERS] = services.vfolders
    app[context.IMAGES] = services.images
    app[context.NODES] = services.nodes
    app[context.NODE_ADMIN] = services.node_admin
    app[context.QUOTAS] = services.quotas
    for table in (auth, explanations, sessions, events, folders, information, presets, resources, door):
        app.add_routes(table.routes)
    app.add_routes(_older_spellings())
    app.router.add_get("/health", health)
    app.on_response_prepare.append(_own_headers)
    if dialect.is_26:
        app.on_response_prepare.append(_reset_header)
    app.on_shutdown.append(_close_streams)
    app.on_response_prepare.append(share)
    return app


def _older_spellings() -> list[web.RouteDef]:
    """Return the routes of sessions again under `/kernel`, which clients before API version 5 and npm's say."""
    known = [route for route in sessions.routes if isinstance(route, web.RouteDef)]
    return [
        web.RouteDef(route.method, "/kernel" + route.path.removeprefix("/session"), route.handler, route.kwargs)
        for route in known
    ]


def make_internal(catalog: Catalog) -> web.Application:
    """Return the application that only the platform speaks to."""
    app = web.Application(middlewares=[problems])
    app[CATALOG] = catalog
    app.add_routes(discovery.routes)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    return app
