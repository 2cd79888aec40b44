"""What a request carries for the doors: the caller, the services, and how parameters are read."""

from typing import Any

import orjson
from aiohttp import web

from caravan_common.errors import InvalidParametersError
from caravan_manager.api.limits import RateLimits, Standing
from caravan_manager.api.origin import TrustedProxies
from caravan_manager.images.service import ImagesService
from caravan_manager.nodes.administration import NodesAdministration
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.accounts import AccountsService
from caravan_manager.people.administration import PeopleAdministration
from caravan_manager.people.model import Principal
from caravan_manager.people.service import PeopleService
from caravan_manager.quotas.service import QuotasService
from caravan_manager.scheduler.explaining.service import ExplanationsService
from caravan_manager.sessions.following import SessionEvents
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
"""For whom the request acts; the authentication middleware sets it before a handler runs."""
STANDING: web.RequestKey[Standing] = web.RequestKey("standing", Standing)
"""How the caller stands with the rate limit."""

ACCOUNTS: web.AppKey[AccountsService] = web.AppKey("accounts", AccountsService)
PEOPLE: web.AppKey[PeopleService] = web.AppKey("people", PeopleService)
PEOPLE_ADMIN: web.AppKey[PeopleAdministration] = web.AppKey("people_admin", PeopleAdministration)
SESSIONS: web.AppKey[SessionsService] = web.AppKey("sessions", SessionsService)
EXPLANATIONS: web.AppKey[ExplanationsService] = web.AppKey("explanations", ExplanationsService)
EVENTS: web.AppKey[SessionEvents] = web.AppKey("events", SessionEvents)
VFOLDERS: web.AppKey[VFoldersService] = web.AppKey("vfolders", VFoldersService)
IMAGES: web.AppKey[ImagesService] = web.AppKey("images", ImagesService)
LIMITS: web.AppKey[RateLimits] = web.AppKey("limits", RateLimits)
PROXIES: web.AppKey[TrustedProxies] = web.AppKey("proxies", TrustedProxies)
NODES: web.AppKey[NodesService] = web.AppKey("nodes", NodesService)
NODE_ADMIN: web.AppKey[NodesAdministration] = web.AppKey("node_admin", NodesAdministration)
QUOTAS: web.AppKey[QuotasService] = web.AppKey("quotas", QuotasService)


async def read_parameters(request: web.Request) -> dict[str, Any]:
    """Return the query and the JSON body as one object; the body wins, repeated query names become lists.

    Clients of different versions send the same parameter in either place, on any method.
    """
    merged: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        merged[name] = values[0] if len(values) == 1 else values
    raw = await request.read()
    if not raw.strip():
        return _checked(merged)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise InvalidParametersError("Malformed body") from err
    if not isinstance(body, dict):
        raise InvalidParametersError("Malformed body")
    return _checked(merged | body)


def is_connected(request: web.Request) -> bool:
    """Say whether the client is still there; a handler goes on without it, so that what it began is done or not."""
    return request.transport is not None and not request.transport.is_closing()


def _checked(parameters: dict[str, Any]) -> dict[str, Any]:
    """Refuse what no handler can take: NUL characters, which no text in the database holds."""
    if _has_nul(parameters):
        raise InvalidParametersError("a parameter holds a NUL character")
    return parameters


def _has_nul(value: object) -> bool:
    """JSON writes a NUL in one way only; a backslash before it is written as two."""
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError as err:  # it nests deeper than anything that is asked for
        raise InvalidParametersError("Malformed body") from err
    return b"\\u0000" in written.replace(b"\\\\", b"")
