"""What Prometheus is shown of the state at a pass: queue, slots and quotas. Labels are bounded: none names a user."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from prometheus_client import Gauge

from caravan_common.slots import ResourceSlots
from caravan_manager.db.engine import Transaction
from caravan_manager.quotas.model import Holder, Quota, is_counted
from caravan_manager.scheduler import metrics
from caravan_manager.scheduler.reading import read_use
from caravan_manager.scheduler.snapshot import NodeView, Plan, Snapshot
from caravan_manager.sessions.queue import PlacedSession

SHOW_EVERY = timedelta(seconds=5)
"""How often slots and quotas are summed up, at most: that is as long as a short pass."""
READ_EVERY = timedelta(seconds=15)
"""How often slots are read for the gauges alone, while nothing waits."""
_Labels = tuple[str, ...]


class Gauges:
    """Belongs to the loop. What a pass does not mention any more is not shown any more."""

    def __init__(self) -> None:
        self._summed_at: datetime | None = None
        self._shown: dict[Gauge, set[_Labels]] = defaultdict(set)

    async def read_if_due(self, tx: Transaction, now: datetime) -> Snapshot | None:
        """Return a snapshot without sessions that wait, if it is time for one."""
        return await read_use(tx, now) if self._is_due(READ_EVERY, now) else None

    def show(self, snapshot: Snapshot, decided: Plan, idle: Snapshot | None = None) -> None:
        """Show a pass. One without a session that waits has read nothing else: ``idle`` has, now and then."""
        self._show_queue(snapshot, decided)
        whole = snapshot if snapshot.pending else idle
        if whole is not None and self._is_due(SHOW_EVERY, whole.taken_at):
            self._summed_at = whole.taken_at
            self._show_slots(whole.nodes, whole.placed)
            self._show_quotas(whole)

    def forget(self) -> None:
        """Show nothing: another process leads."""
        for gauge in self._shown:
            self._set(gauge, {})
        self._summed_at = None

    def _is_due(self, every: timedelta, now: datetime) -> bool:
        return self._summed_at is None or now - self._summed_at >= every

    def _show_queue(self, snapshot: Snapshot, decided: Plan) -> None:
        groups = {session.id: session.scaling_group for session in snapshot.pending}
        oldest: dict[_Labels, float] = {}
        for session in snapshot.pending:
            key, age = (session.scaling_group,), (snapshot.taken_at - session.pending_since).total_seconds()
            oldest[key] = max(oldest.get(key, 0.0), age)
        self._set(metrics.QUEUE_LENGTH, Counter((group,) for group in groups.values()))
        self._set(metrics.OLDEST, oldest)
        self._set(metrics.WAITING, Counter((groups[wait.session], wait.obstacle.value) for wait in decided.waits))
        self._set(metrics.RESERVED, Counter((groups[kept.session],) for kept in decided.reserved))

    def _show_slots(self, nodes: Iterable[NodeView], placed: Iterable[PlacedSession]) -> None:
        capacity: dict[_Labels, float] = {}
        group_of: dict[str, str] = {}
        for node in nodes:
            group_of[node.name] = node.scaling_group
            _add(capacity, node.scaling_group, node.capacity)
        used = dict.fromkeys(capacity, 0.0)
        for kernel in (kernel for session in placed for kernel in session.kernels):
            if (group := group_of.get(kernel.node)) is not None:  # else its node is away, and in no total
                _add(used, group, kernel.slots)
        self._set(metrics.CAPACITY, capacity)
        self._set(metrics.USED, used)

    def _show_quotas(self, snapshot: Snapshot) -> None:
        held: defaultdict[Holder, list[PlacedSession]] = defaultdict(list)
        for session in snapshot.placed if snapshot.quotas else ():
            for holder in session.holders:
                held[holder].append(session)
        fullest: dict[_Labels, float] = {}
        for quota in snapshot.quotas:
            kind = (quota.holder[0].value,)
            fullest[kind] = max(fullest.get(kind, 0.0), use_of(quota, held[quota.holder]))
        self._set(metrics.FULLEST_QUOTA, fullest)

    def _set(self, gauge: Gauge, values: Mapping[_Labels, float]) -> None:
        for labels in self._shown[gauge] - values.keys():
            gauge.remove(*labels)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        self._shown[gauge] = set(values)


def use_of(quota: Quota, held: Iterable[PlacedSession]) -> float:
    """Return how much of a quota is used: the most of its slots and its number of sessions, 1 for all of it."""
    sessions = list(held)
    used = sum((session.slots for session in sessions), ResourceSlots())
    limits = quota.slots.slots
    if quota.slots.models:
        used = sum((session.slots_by_model for session in sessions), used)
        limits = limits + quota.slots.models
    parts = [float(used.get(slot, Decimal(0)) / most) for slot, most in limits.items() if most]
    count = sum(is_counted(quota.holder[0], session.type) for session in sessions)
    return max([*parts, count / quota.sessions if quota.sessions else 0.0])


def _add(total: dict[_Labels, float], group: str, slots: ResourceSlots) -> None:
    for slot, amount in slots.items():
        total[group, slot] = total.get((group, slot), 0.0) + float(amount)
