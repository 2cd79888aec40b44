"""What is left while a plan is made: the nodes' free slots and the holders' quotas. Plain bookkeeping, no I/O."""

from collections.abc import Iterable, Mapping

from caravan_common.slots import ResourceSlots
from caravan_manager.quotas.model import Holder, HolderKind
from caravan_manager.scheduler.snapshot import Account, NodeView, Obstacle, Reason, SessionRequest

_OBSTACLES = {
    HolderKind.KEYPAIR: Obstacle.KEYPAIR_QUOTA,
    HolderKind.SYSTEM_KEYPAIR: Obstacle.KEYPAIR_QUOTA,
    HolderKind.USER: Obstacle.USER_QUOTA,
    HolderKind.PROJECT: Obstacle.PROJECT_QUOTA,
    HolderKind.DOMAIN: Obstacle.DOMAIN_QUOTA,
}


class Ledger:
    """Belongs to one plan: each session that is placed takes from it."""

    def __init__(self, nodes: Iterable[NodeView], accounts: Iterable[Account]) -> None:
        self.free = {node.name: node.free for node in nodes}
        self._accounts: dict[Holder, Account] = {account.quota.holder: account for account in accounts}

    def exceeded(self, request: SessionRequest) -> list[Reason]:
        """Return which quotas the session would exceed if it started now."""
        slots = request.slots
        accounts = [self._accounts[holder] for holder in request.holders if holder in self._accounts]
        crowded = [_too_many(account) for account in accounts]
        return [reason for reason in [*crowded, *(_too_much(account, slots) for account in accounts)] if reason]

    def take(self, request: SessionRequest, left: Mapping[str, ResourceSlots]) -> None:
        """Count the session in: ``left`` is what it leaves of the nodes."""
        self.free.update(left)
        for holder in request.holders:
            if (account := self._accounts.get(holder)) is not None:
                used = account.used + request.slots
                self._accounts[holder] = Account(account.quota, used, account.sessions + 1)


def _too_many(account: Account) -> Reason | None:
    most = account.quota.sessions
    if most is None or account.sessions < most:
        return None
    return Reason(Obstacle.CONCURRENCY, (account.quota.holder[1],), str(most))


def _too_much(account: Account, slots: ResourceSlots) -> Reason | None:
    kind, name = account.quota.holder
    excess = account.quota.slots.excess(account.used + slots)
    if not excess:
        return None
    limit = account.quota.slots.slots.to_json()
    return Reason(_OBSTACLES[kind], (name, *excess), " ".join(f"{slot}={limit.get(slot, '0')}" for slot in excess))
