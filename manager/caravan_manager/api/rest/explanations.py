"""Why sessions wait, and what would become of requests. Backend.AI has no such routes."""

from aiohttp import web

from caravan_common.http import json_response
from caravan_manager.api.context import EXPLANATIONS, PRINCIPAL, read_parameters
from caravan_manager.api.rest.sessions import CreateSession, session_request

routes = web.RouteTableDef()


@routes.post("/session/_/explain")
async def explain_request(request: web.Request) -> web.Response:
    """Say of the body of POST /session whether it would start now, without submitting it; it needs no name."""
    body = CreateSession.model_validate({"name": "not-submitted"} | await read_parameters(request))
    principal = request[PRINCIPAL]
    wanted = session_request(body, principal.domain_name)
    told = await request.app[EXPLANATIONS].of_request(principal, wanted)
    return json_response(told.to_json())


@routes.get("/session/{session}/explain")
async def explain_session(request: web.Request) -> web.Response:
    """Say why a session waits, what would help, and when it starts."""
    told = await request.app[EXPLANATIONS].of(request[PRINCIPAL], request.match_info["session"])
    return json_response(told.to_json())
