"""Images in GraphQL, in the two forms that the protocol has of them."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ariadne import ObjectType

from caravan_common.errors import InvalidParametersError
from caravan_manager.api.graphql.base import Asked, Info, Once, as_uuid, bind
from caravan_manager.images.model import Image

queries = ObjectType("Queries")
_TAG_PART = re.compile(r"^(?P<key>[a-zA-Z_]+)(?P<value>.*)$")
_FEATURES = "ai.backend.features"
_OPERATION = "operation"
_LOADS = {"general": False, "operational": True}
"""What the filters of images select: operators' tools (True) or what everybody works with (False)."""
_NO_SUCH_IMAGES = {"customized"}
"""Filters for kinds of images that do not exist yet: they select nothing."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image, and on which nodes the images of the list are."""

    image: Image
    holders: Once[dict[str, list[str]]]


@queries.field("image")
async def image(
    _: object,
    info: Info,
    id: str | None = None,  # noqa: A002
    reference: str | None = None,
    architecture: str | None = "x86_64",
) -> object:
    """Answer one image by ID, reference or alias."""
    asked = info.context
    if id is not None:
        return _rows(asked, [await asked.images.image_by_id(as_uuid(id))])[0]
    if reference is None:
        raise InvalidParametersError("name an image by its id or by its reference")
    return _rows(asked, [await asked.images.image(reference, architecture or "x86_64")])[0]


@queries.field("images")
async def images(
    _: object,
    info: Info,
    is_installed: bool | None = None,
    is_operation: bool | None = None,
    filter_by_statuses: Sequence[str | None] | None = ("ALIVE",),
    load_filters: Sequence[str | None] | None = None,
) -> object:
    """Answer all images of the kinds asked for."""
    statuses = [status for status in filter_by_statuses or ["ALIVE"] if status is not None]
    kinds = _kinds(load_filters, is_operation)
    found = [i for i in await info.context.images.images(statuses) if kinds is None or _is_operation(i) in kinds]
    rows = _rows(info.context, found)
    return rows if is_installed is None else [row for row in rows if bool(await _holders(row)) == is_installed]


def _kinds(load_filters: Sequence[str | None] | None, is_operation: bool | None) -> set[bool] | None:
    if load_filters is None:
        return None if is_operation is None else {is_operation}
    named = {name for name in load_filters if name is not None}
    unknown = named - _LOADS.keys() - _NO_SUCH_IMAGES
    if unknown:
        raise InvalidParametersError(f"{', '.join(sorted(unknown))}: there is no such filter of images")
    return {_LOADS[name] for name in named & _LOADS.keys()}


def _is_operation(image: Image) -> bool:
    return _OPERATION in image.labels.get(_FEATURES, "").split()


def _rows(asked: Asked, found: list[Image]) -> list[ImageRow]:
    async def load() -> dict[str, list[str]]:
        nodes, _taken = await asked.nodes.nodes(asked.principal, scaling_group=None, status="ALIVE")
        holders: dict[str, list[str]] = {}
        for node in nodes:
            for reference in node.images:
                holders.setdefault(reference, []).append(node.name)
        return holders

    holders = Once(load)
    return [ImageRow(image, holders) for image in found]


async def _holders(row: ImageRow) -> list[str]:
    return (await row.holders.get()).get(row.image.reference, [])


async def _is_installed(row: ImageRow) -> bool:
    return bool(await _holders(row))


def _version(image: Image) -> str:
    return image.tag.partition("-")[0]


def _tags(image: Image) -> list[tuple[str, str]]:
    parts = [_TAG_PART.match(part) for part in image.tag.split("-")[1:]]
    return [(part["key"], part["value"]) for part in parts if part is not None]


def _project(image: Image) -> str:
    return image.name.rpartition("/")[0]


def _base_name(image: Image) -> str:
    return image.name.rpartition("/")[2]


Limit = tuple[str, str, str | None]
"""A slot, the least and the most of it."""


def _limits(image: Image) -> list[Limit]:
    least, most = (slots.to_json() for slots in image.shown_limits)
    return [(slot, least.get(slot, "0"), most.get(slot)) for slot in [*least, *sorted(most.keys() - least.keys())]]


def _accelerators(image: Image) -> list[str]:
    """The protocol's way to say that an image needs none is one empty name."""
    return list(image.accelerators) or [""]


_COMMON: dict[str, Callable[[Image], object]] = {
    "name": lambda image: image.name,
    "namespace": lambda image: image.name,
    "base_image_name": _base_name,
    "project": _project,
    "humanized_name": lambda image: image.name,
    "tag": lambda image: image.tag,
    "tags": _tags,
    "version": _version,
    "registry": lambda image: image.registry,
    "architecture": lambda image: image.architecture,
    "is_local": lambda image: image.is_local,
    "digest": lambda image: image.digest,
    "labels": lambda image: list(image.labels.items()),
    "aliases": lambda image: image.aliases,
    "size_bytes": lambda image: image.size_bytes,
    "status": lambda image: image.status,
    "resource_limits": _limits,
    "supported_accelerators": _accelerators,
}


def _of_row(value: Callable[[Image], object]) -> Callable[[ImageRow], object]:
    return lambda row: value(row.image)


IMAGE: dict[str, Callable[[ImageRow], object]] = {
    **{name: _of_row(value) for name, value in _COMMON.items()},
    "id": lambda row: row.image.id,
    "installed": _is_installed,
    "installed_agents": _holders,
    "hash": lambda row: row.image.digest,
}

IMAGE_NODE: dict[str, Callable[[Image], object]] = {
    **_COMMON,
    "id": lambda image: base64.b64encode(f"ImageNode:{image.id}".encode()).decode(),
    "row_id": lambda image: image.id,
    "permissions": lambda _: [],
}

PAIR: dict[str, Callable[[tuple[str, str]], object]] = {"key": lambda pair: pair[0], "value": lambda pair: pair[1]}

LIMIT: dict[str, Callable[[Limit], object]] = {
    "key": lambda limit: limit[0],
    "min": lambda limit: limit[1],
    "max": lambda limit: limit[2],
}

BINDABLES = [
    queries,
    bind("Image", IMAGE),
    bind("ImageNode", IMAGE_NODE),
    bind("KVPair", PAIR),
    bind("ResourceLimit", LIMIT),
]
