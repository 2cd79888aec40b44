"""What tenants had lately of the scaling groups that share fairly: read now and then, and counted on in between."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from caravan_common.errors import InvalidParametersError
from caravan_manager.db.engine import Transaction
from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler.options import DEFAULT_HALF_LIFE, half_life
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.sequencers.sequencer import Past, capacity_of, needs_past
from caravan_manager.scheduler.snapshot import GroupView, NodeView
from caravan_manager.sessions.queue import PastUse, PlacedSession
from caravan_manager.sessions.survey import list_past

log = structlog.get_logger()

READ_AGAIN = timedelta(minutes=1)
"""After how long what was had is read anew: what was missed in between is in it then."""
Name = TypeVar("Name", bound=Hashable)


@dataclass(slots=True)
class Account:
    """What tenants had of a scaling group when that was read, and the sessions that were seen there since.

    What is had in the minute between two readings is not decayed.
    """

    read_at: datetime
    uses: Sequence[PastUse]
    seen: dict[UUID, tuple[PlacedSession, datetime]] = field(default_factory=dict[UUID, tuple[PlacedSession, datetime]])
    """Sessions that held nodes, and when each was seen last."""

    def look(self, placed: Iterable[PlacedSession], now: datetime) -> None:
        """See who holds nodes now."""
        self.seen.update((session.id, (session, now)) for session in placed)

    def all_uses(self) -> Iterator[PastUse]:
        """Yield what was read, and what was had since by whom was seen, for as long as he was seen."""
        yield from self.uses
        had: defaultdict[Tenant, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for session, until in self.seen.values():
            seconds = max((until - max(session.placed_at, self.read_at)).total_seconds(), 0.0)
            of_tenant = had[session.tenant]
            for slot, amount in session.slots.floats.items():
                of_tenant[slot] += amount * seconds
        for tenant, slots in had.items():
            for slot, amount in slots.items():
                yield PastUse(tenant.user, tenant.project, tenant.domain, slot, amount)


class PastReader:
    """Reads what was had, and remembers it for READ_AGAIN. One for each process that may lead."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    async def read(
        self,
        tx: Transaction,
        groups: Iterable[GroupView],
        nodes: Sequence[NodeView],
        placed: Sequence[PlacedSession],
        now: datetime,
    ) -> tuple[tuple[str, Past], ...]:
        """Return what tenants had, until now, of each scaling group whose scheduler asks for it."""
        sequencers = find_plugins().sequencers
        found: list[tuple[str, Past]] = []
        for group in groups:
            if not needs_past(sequencers.get(group.sequencer)):
                continue
            account = self._accounts.get(group.name)
            if account is None or now - account.read_at >= READ_AGAIN:
                account = Account(now, await list_past(tx, group.name, half_life_of(group), now))
                self._accounts[group.name] = account
            account.look((session for session in placed if session.scaling_group == group.name), now)
            capacity = capacity_of(node.capacity for node in nodes if node.scaling_group == group.name)
            found.append((group.name, past_of(account.all_uses(), capacity)))
        return tuple(found)


def past_of(uses: Iterable[PastUse], capacity: Mapping[str, float]) -> Past:
    """Return the share-seconds of users, projects and domains: each of the slot of which it had most."""
    uses = list(uses)
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
