"""What every subject's resolvers stand on: the caller's context, pages, values loaded once, and the scalars."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from ariadne import ObjectType, ScalarType
from graphql import GraphQLError, GraphQLResolveInfo

from caravan_common.errors import CaravanError, ForbiddenError, InvalidParametersError
from caravan_manager.db.choice import Choice
from caravan_manager.images.service import ImagesService
from caravan_manager.nodes.administration import NodesAdministration
from caravan_manager.nodes.service import NodesService
from caravan_manager.people.administration import PeopleAdministration
from caravan_manager.people.model import Principal
from caravan_manager.people.service import PeopleService
from caravan_manager.quotas.service import QuotasService
from caravan_manager.scheduler.explaining.service import ExplanationsService
from caravan_manager.sessions.service import SessionsService
from caravan_manager.vfolders.service import VFoldersService

LARGEST_PAGE = 100
"""How many items one page of a list may have."""
ALL = 1000
"""How many items a list without pages has at most."""

Row = TypeVar("Row")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Asked:
    """What resolvers are given of a request: who asks, and the services that answer."""

    principal: Principal
    people: PeopleService
    people_admin: PeopleAdministration
    sessions: SessionsService
    explanations: ExplanationsService
    vfolders: VFoldersService
    images: ImagesService
    nodes: NodesService
    node_admin: NodesAdministration
    quotas: QuotasService


Info = GraphQLResolveInfo[Asked]


class Once(Generic[Value]):
    """A value that is loaded when the first row of a list asks for it, and once for all of its rows.

    So a field that needs a query costs one query a list, and none when nobody selected the field.
    """

    def __init__(self, load: Callable[[], Awaitable[Value]]) -> None:
        self._load = load
        self._lock = asyncio.Lock()
        self._loaded: list[Value] = []
        self._failure: Exception | None = None

    async def get(self) -> Value:
        """Return the value. Raises what loading raised, again for each row, without trying again."""
        async with self._lock:
            if not self._loaded and self._failure is None:
                await self._try()
        if self._failure is not None:
            raise self._failure
        return self._loaded[0]

    async def _try(self) -> None:
        try:
            self._loaded.append(await self._load())
        except Exception as err:
            self._failure = err


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    offset: int
    choice: Choice

    @classmethod
    def of(cls, limit: int, offset: int, language: Mapping[str, str | None]) -> "Page":
        """Check the arguments of a list. ``language`` has its ``filter`` and ``order``.

        Raises InvalidParametersError.
        """
        if not 0 <= limit <= LARGEST_PAGE:
            raise InvalidParametersError(f"a page has at most {LARGEST_PAGE} items")
        if offset < 0:
            raise InvalidParametersError("the offset of a page cannot be negative")
        return cls(limit, offset, Choice.read(language.get("filter"), language.get("order")))


@dataclass(frozen=True, slots=True)
class Listed(Generic[Row]):
    """A page of rows, and how many rows there are in all."""

    items: list[Row]
    total_count: int


def bind(name: str, fields: Mapping[str, Callable[[Row], object]]) -> ObjectType:
    """Return the object type whose fields are these functions of a row."""
    bound = ObjectType(name)
    for field, value in fields.items():
        bound.field(field)(_resolver(value))
    return bound


def _resolver(value: Callable[[Row], object]) -> Callable[..., object]:
    def resolve(row: Row, _: Info, **__: object) -> object:
        return value(row)

    return resolve


def words(text: str | None) -> list[str] | None:
    """Return the parts of a comma-joined argument; None when there is none."""
    found = [word for part in (text or "").split(",") if (word := part.strip())]
    return found or None


def as_uuid(text: str) -> UUID:
    """Read an ID that the schema calls ``ID`` or ``String``. Raises InvalidParametersError."""
    try:
        return UUID(text)
    except ValueError as err:
        raise InvalidParametersError(f"{text!r} is not a UUID") from err


async def outcome(info: Info, done: Awaitable[object], item: str | None = None) -> dict[str, object]:
    """Await a change and answer in the form of Backend.AI's mutations: ``ok``, ``msg``, and the made item if any.

    What the caller is refused is an answer, not an error.
    """
    try:
        made = await done
    except ForbiddenError:
        return {"ok": False, "msg": f"no permission to execute {info.path.key}"}
    except CaravanError as err:
        if err.status >= 500:
            raise
        return {"ok": False, "msg": err.message or err.title}
    return {"ok": True, "msg": "success"} | ({} if item is None else {item: made})


def payload(name: str, *items: str) -> ObjectType:
    """Return the type of what :func:`outcome` answers."""
    return bind(name, {field: partial(_member, field) for field in ("ok", "msg", *items)})


def _member(field: str, made: Mapping[str, object]) -> object:
    return made.get(field)


def nothing(_: object) -> None:
    """Answer a field that Caravan knows nothing of yet."""
    return


def _write_moment(value: datetime) -> str:
    return value.isoformat()


def _write_json(value: object) -> str:
    return json.dumps(value, default=str)


def _read_uuid(value: Any) -> UUID:
    if not isinstance(value, str):
        raise GraphQLError("a UUID is text")
    try:
        return UUID(value)
    except ValueError as err:
        raise GraphQLError(f"{value!r} is not a UUID") from err


def global_id(kind: str, identity: UUID) -> str:
    """Return the ID of a node: base64 of its type and UUID."""
    return base64.b64encode(f"{kind}:{identity}".encode()).decode()


def _read_global_id(value: Any) -> UUID:
    """Read the ID of a node, whatever type it says, or a bare UUID."""
    if not isinstance(value, str):
        raise GraphQLError("the ID of a node is text")
    try:
        return UUID(value)
    except ValueError:
        pass
    try:
        return UUID(base64.b64decode(value, validate=True).decode().rpartition(":")[2])
    except ValueError as err:
        raise GraphQLError(f"{value!r} is not the ID of a node") from err


def _read_moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as err:
        raise GraphQLError(f"{value!r} is not a moment in ISO 8601") from err


def _read_json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError) as err:
        raise GraphQLError("this is not JSON") from err


def _read_integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as err:
        raise GraphQLError(f"{value!r} is not an integer") from err


SCALARS = [
    ScalarType("UUID", serializer=str, value_parser=_read_uuid),
    ScalarType("GlobalIDField", serializer=str, value_parser=_read_global_id),
    ScalarType("DateTime", serializer=_write_moment, value_parser=_read_moment),
    ScalarType("JSONString", serializer=_write_json, value_parser=_read_json),
    ScalarType("BigInt", serializer=int, value_parser=_read_integer),
]
