"""Acting for somebody else: ``X-BackendAI-Act-As`` on any request, ``owner_access_key`` where the protocol has it."""

from uuid import UUID

from aiohttp import web

from caravan_common.errors import InvalidAuthParametersError, InvalidParametersError
from caravan_manager.api.context import PEOPLE, read_parameters
from caravan_manager.people.model import Principal

ACT_AS = "X-BackendAI-Act-As"
_OWNED = ("/session", "/kernel", "/folders", "/template", "/services", "/stream")
"""The routes that know the owner's access key: sessions, folders, and what hangs on them, events apart."""
_SPELLINGS = ("owner_access_key", "ownerAccessKey")


async def acting(request: web.Request, principal: Principal) -> Principal:
    """Return for whom the request of ``principal`` acts: mostly themselves.

    Raises ForbiddenError unless they may, InvalidParametersError for both ways at once or an unknown key.
    """
    wanted = request.headers.get(ACT_AS)
    owner = await _owner(request) if request.path.startswith(_OWNED) else None
    if wanted is None:
        return principal if owner is None else await request.app[PEOPLE].acting_for_owner(principal, owner)
    if owner is not None:
        raise InvalidParametersError(f"owner_access_key does not go with {ACT_AS}")
    return await request.app[PEOPLE].acting_as_user(principal, _user(wanted))


async def _owner(request: web.Request) -> str | None:
    """Return the owner's access key of query or body; the body is parsed only when it speaks of one."""
    named = "wner" in request.raw_path
    if not named and request.can_read_body and not request.content_type.startswith("multipart/"):
        named = b"wner" in await request.read()
    if not named:
        return None
    parameters = await read_parameters(request)
    found = next((value for name in _SPELLINGS if (value := parameters.get(name))), None)
    if found is not None and not isinstance(found, str):
        raise InvalidParametersError("Input validation error", data={"owner_access_key": "value is not a string"})
    return found


def _user(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as err:
        raise InvalidAuthParametersError(f"{ACT_AS} is not the ID of a user") from err
