"""An image as a value: its reference, its labels, and what they demand. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from caravan_common.errors import NotFoundError
from caravan_common.slots import ResourceSlots, parse_bytes

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
    accelerators: tuple[str, ...]
    """The kinds that it is made for: ``cuda``, or ``*`` for any. None where it does not say: then any will do, too."""

    @property
    def reference(self) -> str:
        """What users and Docker call the image; a local image has no registry in it."""
        name = f"{self.name}:{self.tag}"
        return name if self.registry == LOCAL_REGISTRY else f"{self.registry}/{name}"

    @property
    def minimum_slots(self) -> ResourceSlots:
        """The least that a session of this image must have, from its labels."""
        return self._labelled(_MINIMUM)

    @property
    def maximum_slots(self) -> ResourceSlots:
        """The most that a session of this image may have, from its labels; what they do not name is free."""
        return self._labelled(_MAXIMUM)

    def is_made_for(self, kind: str) -> bool:
        """Whether the image can use accelerators of a kind."""
        return not self.accelerators or ANY_ACCELERATOR in self.accelerators or kind in self.accelerators

    def _labelled(self, prefix: str) -> ResourceSlots:
        amounts: dict[str, object] = {}
        for label, value in self.labels.items():
            if label.startswith(prefix):
                slot = label.removeprefix(prefix)
                amounts[slot] = parse_bytes(value) if slot == "mem" else value
        return ResourceSlots.parse(amounts)


def accelerators_in(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the kinds of accelerators that an image's labels name, joined by commas there."""
    return tuple(kind for word in labels.get(_ACCELERATORS, "").split(",") if (kind := word.strip()))


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
