"""The audit log: who did what to which thing, written in the transaction of the deed."""

from caravan_manager.db.engine import Transaction
from caravan_manager.db.tables import audit_log
from caravan_manager.people.model import Principal

LONGEST_TARGET = 128
"""A longer name of a target is cut."""


async def record(
    tx: Transaction, actor: Principal, action: str, target_type: str, target: str, facts: dict[str, object]
) -> None:
    """Add a line. ``facts`` hold no secrets. Where the request acts for somebody else, the line names both."""
    really = actor.actor
    if really is not None:
        facts = facts | {"for_user": str(actor.user_id), "for_access_key": actor.access_key}
    await tx.execute(
        audit_log.insert().values(
            actor=actor.user_id if really is None else really.user_id,
            access_key=actor.access_key if really is None else really.access_key,
            action=action,
            target_type=target_type,
            target=target[:LONGEST_TARGET],
            facts=facts,
        )
    )
