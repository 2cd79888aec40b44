"""The sequencers and selectors that there are: built-in ones and those of other packages, found by entry points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

import structlog

from caravan_manager.scheduler.guard import REST_SECONDS, Resting
from caravan_manager.scheduler.selectors.selector import MakeSelector
from caravan_manager.scheduler.sequencers.sequencer import Sequencer, needs_past

SEQUENCERS = "backendai_scheduler_v10"
SELECTORS = "backendai_agentselector_v10"
DEFAULT_SEQUENCER = "fifo"
DEFAULT_SELECTOR = "packed"

log = structlog.get_logger()
_Plugin = TypeVar("_Plugin")


@dataclass(frozen=True, slots=True)
class Plugins:
    """Plugins by name. The defaults are always there. ``resting`` are those that took too long a moment ago."""

    sequencers: Mapping[str, Sequencer]
    selectors: Mapping[str, MakeSelector]
    resting: Resting = field(default_factory=Resting, compare=False)

    def for_itself(self, rest_seconds: float = REST_SECONDS) -> "Plugins":
        """Return the same plugins for somebody else, of whom nobody learns which of them took too long."""
        return replace(self, resting=Resting(rest_seconds))


@cache
def find_plugins() -> Plugins:
    """Return the plugins of all installed packages; one that cannot be loaded is told of and left out.

    Read once a process: a new package needs a restart.
    """
    return Plugins(
        sequencers=_load(SEQUENCERS, _sequencer),
        selectors=_load(SELECTORS, lambda point: cast("MakeSelector", point.load())),
    )


def _sequencer(point: EntryPoint) -> Sequencer:
    made = cast("Sequencer", point.load()())
    needs_past(made)  # what raises here would do so where the snapshot is read
    return made


def _load(group: str, make: Callable[[EntryPoint], _Plugin]) -> Mapping[str, _Plugin]:
    found: dict[str, _Plugin] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = make(point)
        except Exception:  # whatever another package's code raises, the others are there
            log.exception("scheduler.plugin_not_loaded", group=group, name=point.name)
    return found
