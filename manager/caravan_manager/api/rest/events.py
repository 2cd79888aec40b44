"""REST: events of sessions and of background tasks, as server-sent events (text/event-stream)."""

import time
from contextlib import AbstractAsyncContextManager
from typing import Annotated
from uuid import UUID

import orjson
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from caravan_manager.api.context import EVENTS, PRINCIPAL, is_connected, read_parameters
from caravan_manager.sessions.events import SCOPES, SessionEvent
from caravan_manager.sessions.following import EventsRequest
from caravan_manager.sessions.news import EventStream

log = structlog.get_logger()
routes = web.RouteTableDef()

KEEP_ALIVE_SECONDS = 15.0
"""How often a comment says that the stream lives; the real manager's interval."""
SEND_SECONDS = 30.0
"""How long a reader may take no byte until its stream is cut."""
LOOK_SECONDS = 5.0
"""How often a stream without events is looked at: its client may have gone."""
STREAM_SECONDS = 900.0
"""How long a stream lives: its client comes back by itself, and is asked again who it is."""
SERVER_CLOSE = "server_close"
"""The event that tells clients not to come back."""


def _any_as_none(value: object) -> object:
    return None if value in ("*", "") else value


def _scopes(value: str | list[str]) -> object:
    """Read one word, several joined by commas, or a repeated parameter; what is no text names no scope."""
    parts = value if isinstance(value, list) else [value]
    words = [word.strip() for part in parts for word in str(part).split(",")]
    return SCOPES if "*" in words else words


Scope = Annotated[str, Field(pattern=f"^({'|'.join(sorted(SCOPES))})$")]
Anything = Annotated[str | None, BeforeValidator(_any_as_none)]


_NAMES = AliasChoices("name", "sessionName", "session_name")
_OWNERS = AliasChoices("ownerAccessKey", "owner_access_key")
_GROUPS = AliasChoices("group", "groupName", "group_name")


class FollowSessions(BaseModel):
    """What clients send; ``*`` means any."""

    session_name: Anything = Field(None, validation_alias=_NAMES, max_length=256)
    session_id: UUID | None = Field(None, validation_alias=AliasChoices("sessionId", "session_id"))
    owner_access_key: str | None = Field(None, validation_alias=_OWNERS, max_length=64)
    group_name: Anything = Field(None, validation_alias=_GROUPS, max_length=256)
    scope: Annotated[frozenset[Scope], BeforeValidator(_scopes)] = SCOPES


class FollowTask(BaseModel):
    """What clients send to follow a background task."""

    task_id: UUID = Field(validation_alias=AliasChoices("task_id", "taskId"))


@routes.get("/events/session")
async def follow_sessions(request: web.Request) -> web.StreamResponse:
    """Stream the events of the caller's sessions, or of those that the caller administrates."""
    body = FollowSessions.model_validate(await read_parameters(request))
    wanted = EventsRequest(
        scopes=body.scope,
        session=body.session_id,
        session_name=body.session_name,
        owner_access_key=body.owner_access_key,
        project_name=body.group_name,
    )
    async with request.app[EVENTS].follow(request[PRINCIPAL], wanted) as stream, _response(request) as response:
        try:
            await _push(request, stream, response)
        except (ConnectionError, TimeoutError) as err:
            log.debug("events.reader_gone", error=str(err))
    return response


@routes.get("/events/background-task")
async def follow_task(request: web.Request) -> web.StreamResponse:
    """Stream a background task's progress. No task is known: such a stream ends at once, as the real manager's does."""
    FollowTask.model_validate(await read_parameters(request))
    async with _response(request) as response:
        return response


def _response(request: web.Request) -> AbstractAsyncContextManager[EventSourceResponse]:
    return sse_response(request, send_timeout=SEND_SECONDS, ping_interval=KEEP_ALIVE_SECONDS)


async def _push(request: web.Request, stream: EventStream, response: EventSourceResponse) -> None:
    """Send events until the stream is over or the client has gone."""
    until = time.monotonic() + STREAM_SECONDS
    while is_connected(request) and time.monotonic() < until:
        event = await stream.next(LOOK_SECONDS)
        if event is not None:
            await _send(response, event)
        elif stream.is_over:
            break
    if stream.finished:
        await response.send("{}", event=SERVER_CLOSE)


async def _send(response: EventSourceResponse, event: SessionEvent) -> None:
    await response.send(orjson.dumps(event.to_json()).decode(), event=event.name)
