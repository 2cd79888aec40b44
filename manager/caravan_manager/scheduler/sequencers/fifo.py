"""`fifo`: first come, first served."""

from collections.abc import Mapping, Sequence

from caravan_manager.scheduler.sequencers.sequencer import Turns, Usage
from caravan_manager.sessions.queue import PendingSession


class Fifo:
    """In the order of submission."""

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        """Yield the oldest first."""
        for session in sorted(pending, key=lambda s: s.sequence):  # noqa: UP028 - a list takes no answers
            yield session
