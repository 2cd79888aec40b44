"""The audit log: who did what to which thing, written in the transaction of the deed."""

from caravan_manager.db.engine import Transaction
from caravan_manager.db.tables import audit_log
from caravan_manager.people.model import Principal


async def record(
    tx: Transaction, actor: Principal, action: str, target_type: str, target: str, facts: dict[str, object]
) -> None:
    """Add a line. ``facts`` hold no secrets."""
    await tx.execute(
        audit_log.insert().values(
            actor=actor.user_id,
            access_key=actor.access_key,
            action=action,
            target_type=target_type,
            target=target,
            facts=facts,
        )
    )
