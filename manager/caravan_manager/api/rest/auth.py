"""REST: log-in by password, and who the caller is."""

from aiohttp import web
from pydantic import BaseModel, Field

from caravan_common.errors import InvalidParametersError
from caravan_common.http import json_response
from caravan_manager.api.auth import anonymous
from caravan_manager.api.context import PEOPLE, PRINCIPAL, read_parameters
from caravan_manager.people.model import UserRole

routes = web.RouteTableDef()


class Authorize(BaseModel):
    """Body of POST /auth/authorize."""

    type: str = "keypair"
    domain: str = Field(max_length=64)
    username: str = Field(max_length=64)
    password: str = Field(max_length=1024, repr=False)


@routes.post("/auth/authorize")
@anonymous
async def authorize(request: web.Request) -> web.Response:
    """Exchange a password for the keypair with which requests are signed."""
    body = Authorize.model_validate(await read_parameters(request))
    if body.type != "keypair":
        raise InvalidParametersError("only the type keypair is offered")
    principal, secret_key = await request.app[PEOPLE].log_in(body.domain, body.username, body.password)
    return json_response(
        {
            "data": {
                "access_key": principal.access_key,
                "secret_key": secret_key,
                "role": principal.role.value,
                "status": "active",
            }
        }
    )


@routes.post("/auth/logout")
async def log_out(_request: web.Request) -> web.Response:
    """Signed requests have no session on the server that could end."""
    return json_response({})


@routes.get("/auth")
@routes.post("/auth")
@routes.get("/auth/test")
@routes.post("/auth/test")
async def test_signature(request: web.Request) -> web.Response:
    """Echo a word, to test signing."""
    parameters = await read_parameters(request)
    if "echo" not in parameters:
        raise InvalidParametersError("Input validation error", data={"echo": "is required"})
    return json_response({"authorized": "yes", "echo": parameters["echo"]})


@routes.get("/auth/role")
async def role(request: web.Request) -> web.Response:
    """Tell what the caller may do."""
    principal = request[PRINCIPAL]
    return json_response(
        {
            "global_role": "superadmin" if principal.role is UserRole.SUPERADMIN else "user",
            "domain_role": "admin" if principal.is_admin else "user",
            "group_role": None,
        }
    )
