"""The SQL of images and their aliases."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from caravan_manager.db.engine import AnyRow, Transaction
from caravan_manager.db.tables import image_aliases, images
from caravan_manager.images.model import Image, ImageReference


def _images() -> Select[Any]:
    aliases = (
        select(func.coalesce(func.array_agg(image_aliases.c.alias), []))
        .where(image_aliases.c.image_id == images.c.id)
        .correlate(images)
        .scalar_subquery()
    )
    return select(images, aliases.label("aliases"))


def _image(row: AnyRow) -> Image:
    return Image(
        id=row.id,
        registry=row.registry,
        name=row.name,
        tag=row.tag,
        architecture=row.architecture,
        digest=row.digest,
        size_bytes=row.size_bytes,
        is_local=row.is_local,
        status=row.status,
        labels=row.labels,
        aliases=tuple(sorted(row.aliases)),
    )


async def find(tx: Transaction, reference: ImageReference, alias: str, architecture: str) -> Image | None:
    """Return the live image that a reference or an alias names, or None. A reference wins over an alias."""
    named: ColumnElement[bool] = (
        (images.c.registry == reference.registry)
        & (images.c.name == reference.name)
        & (images.c.tag == reference.tag)
        & (images.c.architecture == architecture)
    )
    aliased = images.c.id.in_(select(image_aliases.c.image_id).where(image_aliases.c.alias == alias))
    wanted = _images().where(or_(named, aliased), images.c.status == "ALIVE").order_by(named.desc()).limit(1)
    row = (await tx.execute(wanted)).one_or_none()
    return None if row is None else _image(row)


async def find_by_id(tx: Transaction, image_id: UUID) -> Image | None:
    """Return one image by ID, or None."""
    row = (await tx.execute(_images().where(images.c.id == image_id))).one_or_none()
    return None if row is None else _image(row)


async def list_images(tx: Transaction, statuses: Sequence[str], limit: int = 1000) -> list[Image]:
    """Return images by reference."""
    wanted = (
        _images()
        .where(images.c.status.in_(statuses))
        .order_by(images.c.registry, images.c.name, images.c.tag, images.c.architecture)
        .limit(limit)
    )
    return [_image(row) for row in await tx.execute(wanted)]


async def upsert(tx: Transaction, image: Image) -> None:
    """Add an image, or replace what is known of the same reference."""
    values = {
        "digest": image.digest,
        "size_bytes": image.size_bytes,
        "is_local": image.is_local,
        "status": image.status,
        "labels": image.labels,
        "accelerators": list(image.accelerators),  # for managers of the version before
    }
    new = insert(images).values(
        id=image.id,
        registry=image.registry,
        name=image.name,
        tag=image.tag,
        architecture=image.architecture,
        **values,
    )
    await tx.execute(new.on_conflict_do_update(index_elements=["registry", "name", "tag", "architecture"], set_=values))


async def labels_by_reference(tx: Transaction, references: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """Return the labels of images by reference and architecture."""
    named = {(parsed.registry, parsed.name, parsed.tag) for parsed in map(ImageReference.parse, set(references))}
    wanted = _images().where(tuple_(images.c.registry, images.c.name, images.c.tag).in_(named))
    found = [_image(row) for row in await tx.execute(wanted)] if named else []
    return {(image.reference, image.architecture): image.labels for image in found}
