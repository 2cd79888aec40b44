"""Whose quotas are how full while a plan is made. Plain bookkeeping, no I/O.

A limit for one model of accelerators closes that model to a session which would pass it if it got all that it asks for
there. So the limit holds wherever the session is placed, and a session that other models will do for goes there.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionType
from caravan_manager.quotas.model import Holder, HolderKind, Quota, Tenant, is_counted
from caravan_manager.scheduler.snapshot import NodeView, Obstacle, Reason
from caravan_manager.sessions.model import Seat
from caravan_manager.sessions.queue import PendingSession, PlacedSession

_OBSTACLES = {
    HolderKind.KEYPAIR: Obstacle.KEYPAIR_QUOTA,
    HolderKind.SYSTEM_KEYPAIR: Obstacle.KEYPAIR_QUOTA,
    HolderKind.USER: Obstacle.USER_QUOTA,
    HolderKind.PROJECT: Obstacle.PROJECT_QUOTA,
    HolderKind.DOMAIN: Obstacle.DOMAIN_QUOTA,
}


_NOTHING = Decimal(0)


@dataclass(slots=True)
class Account:
    """A quota, and what its holder has of it: amounts by slot and by model, and how many sessions hold nodes."""

    quota: Quota
    used: dict[str, Decimal]
    sessions: int = 0

    def excess(self, slots: ResourceSlots) -> list[str]:
        """Return the slots of which the holder would have more than the quota, in alphabetical order."""
        limit, used = self.quota.slots, self.used
        return sorted([s for s, amount in slots.items() if used.get(s, _NOTHING) + amount > limit.most(s)])

    def closed(self, slots: ResourceSlots) -> list[tuple[str, str]]:
        """Return which limits of models the holder would pass with all of it there, and these models."""
        return self.quota.slots.closed(slots, self.used)


class Accounts:
    """Belongs to one plan: each session that is placed counts from then on."""

    def __init__(
        self, quotas: Iterable[Quota], placed: Iterable[PlacedSession], nodes: Sequence[NodeView] = ()
    ) -> None:
        self._of: dict[Holder, Account] = {quota.holder: Account(quota, {}) for quota in quotas}
        self._accounts: dict[tuple[Tenant, SessionType], list[Account]] = {}
        self._counted: dict[tuple[Tenant, SessionType], list[Account]] = {}
        self._limit_models = any(account.quota.slots.models for account in self._of.values())
        self._models = _models(nodes) if self._limit_models else {}
        for session in placed:
            self._count(session)

    def exceeded(self, session: PendingSession) -> list[Reason]:
        """Return which quotas the session would exceed if it started now."""
        slots = session.slots
        accounts = self._accounts_of(session)
        crowded = [_too_many(account) for account in self._counted_of(session)]
        exceeded = [reason for reason in [*crowded, *(_too_much(account, slots) for account in accounts)] if reason]
        return exceeded or ([] if self.narrowed(session) is not None else self.closed(session))

    def closed(self, session: PendingSession) -> list[Reason]:
        """Return which limits keep a session from accelerators of models that would do."""
        if not self._limit_models:
            return []
        would_do = self._would_do(session)
        reasons = [
            _passed(account, [name for name, model in account.closed(session.slots) if model in would_do])
            for account in self._accounts_of(session)
        ]
        return [reason for reason in reasons if reason]

    def narrowed(self, session: PendingSession) -> PendingSession | None:
        """Return the session with only those models that are not closed to it; None when that leaves none."""
        if not self._limit_models:
            return session
        slots = session.slots
        closed = {model for account in self._accounts_of(session) for _, model in account.closed(slots)}
        would_do = self._would_do(session)
        if closed.isdisjoint(would_do):
            return session
        left = would_do - closed
        return replace(session, models=left) if left else None

    def start(self, session: PendingSession, seats: Iterable[tuple[UUID, Seat]]) -> None:
        """Count a session that was given these seats."""
        self._count(session.placed(seats, session.pending_since) if self._limit_models else session)

    def _count(self, session: PendingSession | PlacedSession) -> None:
        accounts = self._accounts_of(session)
        if not accounts:
            return
        amounts = dict(session.slots.items())
        if self._limit_models and isinstance(session, PlacedSession):
            amounts |= session.slots_by_model
        for account in self._counted_of(session):
            account.sessions += 1
        for account in accounts:
            for slot, amount in amounts.items():
                account.used[slot] = account.used.get(slot, _NOTHING) + amount

    def _would_do(self, session: PendingSession) -> frozenset[str]:
        """Return the models of its scaling group that would do for the session: those that it names, or all."""
        group = session.scaling_group
        there = frozenset(model for slot in session.slots for model in self._models.get((group, slot), ()))
        return there & session.models if session.models else there

    def _accounts_of(self, session: PendingSession | PlacedSession) -> list[Account]:
        """Return the accounts that the session counts against, and remember them: many sessions have one owner."""
        key = (session.tenant, session.type)
        if (known := self._accounts.get(key)) is None:
            known = self._accounts[key] = [self._of[holder] for holder in session.holders if holder in self._of]
        return known

    def _counted_of(self, session: PendingSession | PlacedSession) -> list[Account]:
        """Return those of them in whose number the session is one."""
        key = (session.tenant, session.type)
        if (known := self._counted.get(key)) is None:
            accounts = self._accounts_of(session)
            known = self._counted[key] = [a for a in accounts if is_counted(a.quota.holder[0], session.type)]
        return known


def _too_many(account: Account) -> Reason | None:
    most = account.quota.sessions
    if most is None or account.sessions < most:
        return None
    return Reason(Obstacle.CONCURRENCY, (account.quota.holder[1],), str(most))


def _too_much(account: Account, slots: ResourceSlots) -> Reason | None:
    return _passed(account, account.excess(slots))


def _passed(account: Account, excess: Sequence[str]) -> Reason | None:
    if not excess:
        return None
    kind, name = account.quota.holder
    limit = account.quota.slots.to_json()
    return Reason(_OBSTACLES[kind], (name, *excess), " ".join(f"{slot}={limit.get(slot, '0')}" for slot in excess))


def _models(nodes: Iterable[NodeView]) -> dict[tuple[str, str], set[str]]:
    """Return the models that each scaling group's open nodes give a slot of."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for node in nodes:
        for device in node.devices if node.schedulable else ():
            found[node.scaling_group, device.slot].add(device.model)
    return dict(found)
