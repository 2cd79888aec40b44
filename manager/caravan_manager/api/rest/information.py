"""REST: what the manager says of itself: its version, its announcement, its status."""

from dataclasses import dataclass

from aiohttp import web

from caravan_common.http import json_response
from caravan_manager.api.auth import anonymous
from caravan_manager.api.context import SESSIONS
from caravan_manager.api.version import api_version

routes = web.RouteTableDef()

HEARTBEAT_TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class ManagerIdentity:
    """Which manager this is; ``address`` is ``host:port`` of its API."""

    id: str
    address: str
    version: str


IDENTITY: web.AppKey[ManagerIdentity] = web.AppKey("identity", ManagerIdentity)


@routes.get("/")
@anonymous
async def hello(request: web.Request) -> web.Response:
    """Tell which protocol is spoken; clients ask this first."""
    manager = request.app[IDENTITY].version
    return json_response({"version": api_version(manager), "manager": manager})


@routes.get("/manager/announcement")
@anonymous
async def get_announcement(_request: web.Request) -> web.Response:
    """Return the operators' message to all users; nobody can set one yet."""
    return json_response({"enabled": False, "message": ""})


@routes.get("/manager/status")
@anonymous
async def get_status(request: web.Request) -> web.Response:
    """Say that the manager runs, and how many sessions are live."""
    identity = request.app[IDENTITY]
    active = await request.app[SESSIONS].count_active()
    major, _, date = api_version(identity.version).removeprefix("v").partition(".")
    node = {
        "id": identity.id,
        "num_proc": 1,
        "service_addr": identity.address,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT_SECONDS,
        "ssl_enabled": False,
        "active_sessions": active,
        "status": "running",
        "version": identity.version,
        "api_version": [int(major), date],
    }
    return json_response({"nodes": [node], "status": "running", "active_sessions": active})
