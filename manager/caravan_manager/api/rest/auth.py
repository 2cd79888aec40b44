"""REST: log-in by password, the caller's own account, and who the caller is."""

from typing import Annotated
from uuid import UUID, uuid4

from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field

from caravan_common.errors import InvalidParametersError
from caravan_common.http import json_response
from caravan_manager.api.auth import anonymous
from caravan_manager.api.context import ACCOUNTS, PEOPLE, PRINCIPAL, PROXIES, read_parameters
from caravan_manager.api.dialect import Dialect
from caravan_manager.api.rest.information import IDENTITY
from caravan_manager.people.model import UserRole

routes = web.RouteTableDef()

Name = Annotated[str, Field(max_length=64)]
Password = Annotated[str, Field(max_length=1024, repr=False)]
NewPassword = Annotated[str, Field(min_length=1, max_length=1024, repr=False)]


class Authorize(BaseModel):
    """Body of POST /auth/authorize."""

    type: str = "keypair"
    domain: Name
    username: Name
    password: Password


class ChangePassword(BaseModel):
    """Body of POST /auth/update-password."""

    old_password: Password
    new_password: NewPassword
    new_password2: Password


class RenewPassword(BaseModel):
    """Body of POST /auth/update-password-no-auth."""

    domain: Name
    username: Name
    current_password: Password
    new_password: NewPassword


class SignOut(BaseModel):
    """Body of POST /auth/signout."""

    email: Name = Field(validation_alias=AliasChoices("email", "username"))
    password: Password


class ChangeFullName(BaseModel):
    """Body of POST /auth/update-full-name."""

    full_name: Name


class OfGroup(BaseModel):
    """A project by its ID, or none."""

    group: UUID | None = None


def _address(request: web.Request) -> str | None:
    return request.app[PROXIES].origin(request).address


@routes.post("/auth/authorize")
@anonymous
async def authorize(request: web.Request) -> web.Response:
    """Exchange a password for the keypair with which requests are signed."""
    body = Authorize.model_validate(await read_parameters(request))
    if body.type != "keypair":
        raise InvalidParametersError("Unsupported authorization type")
    principal, secret_key = await request.app[ACCOUNTS].log_in(
        body.domain, body.username, body.password, _address(request)
    )
    data = {
        "access_key": principal.access_key,
        "secret_key": secret_key,
        "role": principal.role.value,
        "status": "active",
    }
    if Dialect.of(request.app[IDENTITY].version).is_26:
        named = {"response_type": "success", "type": body.type, "user_id": principal.user_id}
        data |= {name: str(value) for name, value in named.items()} | {"session_token": str(uuid4())}
    return json_response({"data": data})


@routes.post("/auth/logout")
async def log_out(_request: web.Request) -> web.Response:
    """Signed requests have no session on the server that could end."""
    return json_response({})


@routes.post("/auth/update-password")
async def change_password(request: web.Request) -> web.Response:
    """Give the caller another password."""
    body = ChangePassword.model_validate(await read_parameters(request))
    if body.new_password != body.new_password2:
        raise InvalidParametersError("new password mismatch")
    await request.app[ACCOUNTS].change_password(
        request[PRINCIPAL], body.old_password, body.new_password, _address(request)
    )
    return json_response({})


@routes.post("/auth/update-password-no-auth")
@anonymous
async def renew_password(request: web.Request) -> web.Response:
    """Replace a password that has expired."""
    body = RenewPassword.model_validate(await read_parameters(request))
    changed_at = await request.app[ACCOUNTS].renew_password(
        body.domain, body.username, body.current_password, body.new_password, _address(request)
    )
    return json_response({"password_changed_at": changed_at.isoformat()}, status=201)


@routes.post("/auth/signout")
async def sign_out(request: web.Request) -> web.Response:
    """End the caller's account."""
    body = SignOut.model_validate(await read_parameters(request))
    await request.app[ACCOUNTS].sign_out(request[PRINCIPAL], body.email, body.password, _address(request))
    return json_response({})


@routes.post("/auth/update-full-name")
async def change_full_name(request: web.Request) -> web.Response:
    """Give the caller another name."""
    body = ChangeFullName.model_validate(await read_parameters(request))
    await request.app[ACCOUNTS].change_full_name(request[PRINCIPAL], body.full_name)
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
    """Tell what the caller may do, and with ``group`` what in that project."""
    group = OfGroup.model_validate(await read_parameters(request)).group
    principal = request[PRINCIPAL]
    if group is not None:
        await request.app[PEOPLE].must_be_member(principal, group)
    return json_response(
        {
            "global_role": "superadmin" if principal.role is UserRole.SUPERADMIN else "user",
            "domain_role": "admin" if principal.is_admin else "user",
            "group_role": None if group is None else "user",
        }
    )
