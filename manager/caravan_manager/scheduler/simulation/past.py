"""What tenants had lately, for sequencers that ask for it: share-seconds that decay. Plain bookkeeping."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler.sequencers.sequencer import Past, Usage, add_up, capacity_of

_Levels = tuple[dict[Hashable, float], dict[Hashable, float], dict[Hashable, float]]


class PastUse:
    """What users, projects and domains have of a scaling group now, and had."""

    def __init__(self, capacity: Iterable[ResourceSlots], half_life: timedelta, began: datetime) -> None:
        self._usage = Usage(capacity_of(capacity))
        self._had: _Levels = ({}, {}, {})
        self._now: tuple[dict[Hashable, dict[str, float]], ...] = tuple(defaultdict(dict) for _ in range(3))
        self._half_life = half_life
        self._at = began

    def change(self, tenant: Tenant, slots: ResourceSlots, sign: int) -> None:
        """Count a session in (1), or out again (-1), from the moment on to which time went last."""
        for now, holder in zip(self._now, (tenant.user, tenant.project, tenant.domain), strict=True):
            add_up(now[holder], slots, sign)

    def until(self, moment: datetime) -> Past:
        """Let time go on, and return what was had until then."""
        seconds = (moment - self._at).total_seconds()
        kept = 0.5 ** (seconds / self._half_life.total_seconds())
        self._at = moment
        for had, now in zip(self._had, self._now, strict=True):
            for holder in had:
                had[holder] *= kept
            for holder, amounts in now.items():
                had[holder] = had.get(holder, 0.0) + self._usage.dominant_share(amounts) * seconds
        users, projects, domains = self._had
        return Past(
            cast("dict[UUID, float]", dict(users)),
            cast("dict[UUID, float]", dict(projects)),
            cast("dict[str, float]", dict(domains)),
        )
