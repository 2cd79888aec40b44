"""What a volume of any backend can do. A new backend is a class with these members: see the guide."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from caravan_common.wire.storage import FolderRef, FolderUsage
from caravan_storage.volumes.folder import Folder


class Volume(Protocol):
    """A place that holds folders. Every method blocks: the doors call them in threads. None of them keeps a lock.

    Methods raise Caravan's errors of ``volumes/refusals.py``, never an OSError.
    """

    @property
    def name(self) -> str:
        """What configuration calls the volume."""
        ...

    @property
    def backend(self) -> str:
        """The backend's name in configuration and in the protocol."""
        ...

    @property
    def capabilities(self) -> Sequence[str]:
        """What clients may be offered, in Backend.AI's words (``vfolder``, ``quota`` …)."""
        ...

    def usage_percent(self) -> float:
        """How full the volume is, 0 to 100."""
        ...

    def create_folder(self, ref: FolderRef) -> None:
        """Make the folder; one that exists is left as it is."""
        ...

    def delete_folder(self, ref: FolderRef) -> None:
        """Make the folder disappear at once; what it held may be removed later, by :meth:`sweep`."""
        ...

    def open_folder(self, ref: FolderRef) -> AbstractContextManager[Folder]:
        """Open the folder. Raises FolderMissingError."""
        ...

    def measure(self, ref: FolderRef, seconds: float) -> FolderUsage:
        """Count files and bytes; what was counted until ``seconds`` went by is an answer too."""
        ...

    def sweep(self, uploads_before: float) -> Generator[int, None, None]:
        """Remove deleted folders, and uploads untouched since then (epoch seconds).

        A generator of small steps, each of which gives how many things it removed.
        """
        ...
