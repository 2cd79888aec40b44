"""What users ask of images."""

from collections.abc import Sequence
from uuid import UUID

from caravan_manager.db.engine import Begin
from caravan_manager.images import repository
from caravan_manager.images.model import Image, ImageNotFoundError, ImageReference


class ImagesService:
    """The images that sessions may run."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def image(self, reference: str, architecture: str) -> Image:
        """Return the image of a reference or alias. Raises ImageNotFoundError."""
        async with self._begin() as tx:
            found = await repository.find(tx, ImageReference.parse(reference), reference, architecture)
        if found is None:
            raise ImageNotFoundError(f"no image {reference} for {architecture}")
        return found

    async def image_by_id(self, image_id: UUID) -> Image:
        """Return one image. Raises ImageNotFoundError."""
        async with self._begin() as tx:
            found = await repository.find_by_id(tx, image_id)
        if found is None:
            raise ImageNotFoundError(f"no image {image_id}")
        return found

    async def images(self, statuses: Sequence[str] = ("ALIVE",)) -> list[Image]:
        """Return all images in any of the statuses, by reference."""
        async with self._begin() as tx:
            return await repository.list_images(tx, statuses)
