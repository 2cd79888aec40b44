"""What tenants had lately of the scaling groups that share fairly, read now and then: it changes slowly."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from caravan_common.errors import InvalidParametersError
from caravan_manager.db.engine import Transaction
from caravan_manager.scheduler.options import DEFAULT_HALF_LIFE, half_life
from caravan_manager.scheduler.sequencers.sequencer import Past, capacity_of
from caravan_manager.scheduler.snapshot import GroupView, NodeView
from caravan_manager.sessions.queue import PastUse
from caravan_manager.sessions.survey import list_past

log = structlog.get_logger()

FAIR_SHARE = "fair-share"
READ_AGAIN = timedelta(minutes=5)
Name = TypeVar("Name", bound=Hashable)


class PastReader:
    """Reads what was had, and remembers it for READ_AGAIN. One for each process that may lead."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[datetime, Past]] = {}

    async def read(
        self, tx: Transaction, groups: Iterable[GroupView], nodes: Sequence[NodeView], now: datetime
    ) -> tuple[tuple[str, Past], ...]:
        """Return what tenants had of each scaling group whose scheduler is `fair-share`."""
        sharing = [group for group in groups if group.sequencer == FAIR_SHARE]
        for group in sharing:
            known = self._known.get(group.name)
            if known is None or now - known[0] >= READ_AGAIN:
                uses = await list_past(tx, group.name, half_life_of(group), now)
                capacity = capacity_of(node.capacity for node in nodes if node.scaling_group == group.name)
                self._known[group.name] = (now, past_of(uses, capacity))
        return tuple((group.name, self._known[group.name][1]) for group in sharing)


def past_of(uses: Sequence[PastUse], capacity: Mapping[str, float]) -> Past:
    """Return the share-seconds of users, projects and domains: each of the slot of which it had most."""
    return Past(
        of_users=_dominant(((use.user, use) for use in uses), capacity),
        of_projects=_dominant(((use.project, use) for use in uses), capacity),
        of_domains=_dominant(((use.domain, use) for use in uses), capacity),
    )


def _dominant(uses: Iterable[tuple[Name, PastUse]], capacity: Mapping[str, float]) -> dict[Name, float]:
    had: defaultdict[Name, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, use in uses:
        if capacity.get(use.slot):
            had[name][use.slot] += use.had / capacity[use.slot]
    return {name: max(slots.values()) for name, slots in had.items()}


def half_life_of(group: GroupView) -> timedelta:
    """Return the half-life; one that cannot be read is told, and the default counts."""
    try:
        return half_life(group.options)
    except InvalidParametersError as err:
        log.warning("scaling_group.bad_half_life", scaling_group=group.name, error=str(err))
        return DEFAULT_HALF_LIFE
