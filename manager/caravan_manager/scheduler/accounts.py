"""Whose quotas are how full while a plan is made. Plain bookkeeping, no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionType
from caravan_manager.quotas.model import Holder, HolderKind, Quota, Tenant
from caravan_manager.scheduler.snapshot import Obstacle, Reason
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
    """A quota, and what its holder has of it: amounts by slot, and the number of sessions that hold nodes."""

    quota: Quota
    used: dict[str, Decimal]
    sessions: int = 0

    def excess(self, slots: ResourceSlots) -> list[str]:
        """Return the slots of which the holder would have more than the quota, in alphabetical order."""
        limit, used = self.quota.slots, self.used
        return sorted([s for s, amount in slots.items() if used.get(s, _NOTHING) + amount > limit.most(s)])


class Accounts:
    """Belongs to one plan: each session that is placed counts from then on."""

    def __init__(self, quotas: Iterable[Quota], placed: Iterable[PlacedSession]) -> None:
        self._of: dict[Holder, Account] = {quota.holder: Account(quota, {}) for quota in quotas}
        self._accounts: dict[tuple[Tenant, SessionType], list[Account]] = {}
        for session in placed:
            self.count(session, 1)

    def exceeded(self, session: PendingSession) -> list[Reason]:
        """Return which quotas the session would exceed if it started now."""
        slots = session.slots
        accounts = self._accounts_of(session)
        crowded = [_too_many(account) for account in accounts]
        return [reason for reason in [*crowded, *(_too_much(account, slots) for account in accounts)] if reason]

    def count(self, session: PendingSession | PlacedSession, sign: int) -> None:
        """Count a session in (1), or out again (-1)."""
        for account in self._accounts_of(session):
            account.sessions += sign
            for slot, amount in session.slots.items():
                account.used[slot] = account.used.get(slot, _NOTHING) + sign * amount

    def _accounts_of(self, session: PendingSession | PlacedSession) -> list[Account]:
        """Return the accounts that the session counts against, and remember them: many sessions have one owner."""
        key = (session.tenant, session.type)
        if (known := self._accounts.get(key)) is None:
            known = self._accounts[key] = [self._of[holder] for holder in session.holders if holder in self._of]
        return known


def _too_many(account: Account) -> Reason | None:
    most = account.quota.sessions
    if most is None or account.sessions < most:
        return None
    return Reason(Obstacle.CONCURRENCY, (account.quota.holder[1],), str(most))


def _too_much(account: Account, slots: ResourceSlots) -> Reason | None:
    excess = account.excess(slots)
    if not excess:
        return None
    kind, name = account.quota.holder
    limit = account.quota.slots.slots.to_json()
    return Reason(_OBSTACLES[kind], (name, *excess), " ".join(f"{slot}={limit.get(slot, '0')}" for slot in excess))
