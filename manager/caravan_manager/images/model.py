"""An image as a value: its reference, its labels, and what they demand. No I/O."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from caravan_common.errors import InvalidParametersError, NotFoundError
from caravan_common.slots import ResourceSlots

_MINIMUM = "ai.backend.resource.min."
_MAXIMUM = "ai.backend.resource.max."
_ACCELERATORS = "ai.backend.accelerators"
ANY_ACCELERATOR = "*"
LOCAL_REGISTRY = "local"
"""The registry of images that were loaded on the nodes by hand; users leave it out of references."""


class ImageNotFoundError(NotFoundError):
    """No image has this reference or alias for the architecture."""

    object_name = "environment image"
    code = "image_read_not-found"


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one architecture. ``name`` is without registry and tag."""

    id: UUID
    registry: str
    name: str
    tag: str
    architecture: str
    digest: str
    size_bytes: int
    is_local: bool
    status: str
    labels: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def reference(self) -> str:
        """What users and Docker call the image; a local image has no registry in it."""
        name = f"{self.name}:{self.tag}"
        return name if self.registry == LOCAL_REGISTRY else f"{self.registry}/{name}"

    @property
    def accelerators(self) -> tuple[str, ...]:
        """The kinds that its labels name, joined by commas there: ``cuda``, or ``*`` for any.

        None where they do not say: then any will do, too.
        """
        return tuple(kind for word in self.labels.get(_ACCELERATORS, "").split(",") if (kind := word.strip()))

    def check_limits(self) -> None:
        """Raise InvalidParametersError for a label about the least or the most that cannot be read."""
        for label, slot in (*self._labelled(_MINIMUM), *self._labelled(_MAXIMUM)):
            self._amount(label, slot)

    @property
    def minimum_slots(self) -> ResourceSlots:
        """The least that a session of this image must have. Raises InvalidParametersError for an unreadable label."""
        return ResourceSlots({slot: self._amount(label, slot) for label, slot in self._labelled(_MINIMUM)})

    @property
    def maximum_slots(self) -> ResourceSlots:
        """The most that a session of this image may have; what no label names is free.

        Raises InvalidParametersError for a label that cannot be read.
        """
        return ResourceSlots({slot: self._amount(label, slot) for label, slot in self._labelled(_MAXIMUM)})

    @property
    def shown_limits(self) -> tuple[ResourceSlots, ResourceSlots]:
        """The least and the most, as far as they can be read, for lists: one bad label spoils no list."""
        return self._readable(_MINIMUM), self._readable(_MAXIMUM)

    def is_made_for(self, kind: str) -> bool:
        """Whether the image can use accelerators of a kind."""
        return not self.accelerators or ANY_ACCELERATOR in self.accelerators or kind in self.accelerators

    def _labelled(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the labels that begin so, each with the slot that it names."""
        for label in self.labels:
            if label.startswith(prefix):
                yield label, label.removeprefix(prefix)

    def _amount(self, label: str, slot: str) -> Decimal:
        value = self.labels[label]
        try:
            return ResourceSlots.parse({slot: value})[slot]
        except InvalidParametersError as err:
            message = f"the image {self.reference} has a label that cannot be read: {label}={value!r} ({err.message})"
            raise InvalidParametersError(message, image=self.reference, label=label) from err

    def _readable(self, prefix: str) -> ResourceSlots:
        found: dict[str, Decimal] = {}
        for label, slot in self._labelled(prefix):
            with suppress(InvalidParametersError):
                found[slot] = self._amount(label, slot)
        return ResourceSlots(found)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A reference taken apart: ``registry/name:tag``."""

    registry: str
    name: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Read a reference by Docker's rules. Raises ImageNotFoundError for what can be none."""
        if not text or len(text) > 512 or any(c.isspace() for c in text):
            raise ImageNotFoundError("this is not a reference of an image")
        first, slash, rest = text.partition("/")
        has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first, rest) if has_registry else (LOCAL_REGISTRY, text)
        name, _, tag = path.partition(":")
        return cls(registry=registry, name=name, tag=tag or "latest")
