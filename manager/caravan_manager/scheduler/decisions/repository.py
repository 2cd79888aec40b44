"""The SQL of the kept passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, or_, select

from caravan_common.errors import NotFoundError
from caravan_manager.db.engine import Transaction
from caravan_manager.db.tables import scheduler_passes, sessions
from caravan_manager.scheduler.decisions.packed import PackedPass

MANY = 1_000_000
"""How many passes one replay looks at."""


class PassNotFoundError(NotFoundError):
    """No pass with this number is kept, or it is kept no longer."""

    object_name = "pass"


@dataclass(frozen=True, slots=True)
class Stay:
    """When a session was placed, and when it ended; None is not yet."""

    began: datetime | None
    ended: datetime | None


async def add(tx: Transaction, made: PackedPass) -> int:
    """Keep a pass, and return its number."""
    added = await tx.scalar(
        insert(scheduler_passes)
        .values(
            taken_at=made.taken_at,
            digest=made.digest,
            pending=made.pending,
            placed=made.placed,
            placements=made.placements,
            waits=made.waits,
            cancellations=made.cancellations,
            snapshot=made.snapshot,
            decisions=made.decisions,
            bytes=len(made.snapshot) + len(made.decisions),
        )
        .returning(scheduler_passes.c.id)
    )
    return int(added or 0)


async def list_numbers(tx: Transaction, since: datetime | None = None, limit: int = MANY) -> list[int]:
    """Return the numbers of the passes since then, the oldest first."""
    wanted = select(scheduler_passes.c.id).order_by(scheduler_passes.c.id).limit(limit)
    if since is not None:
        wanted = wanted.where(scheduler_passes.c.taken_at >= since)
    return list(await tx.scalars(wanted))


async def get(tx: Transaction, number: int) -> PackedPass:
    """Return a pass. Raises PassNotFoundError."""
    row = (await tx.execute(select(scheduler_passes).where(scheduler_passes.c.id == number))).one_or_none()
    if row is None:
        raise PassNotFoundError(f"no pass {number} is kept")
    return PackedPass(
        taken_at=row.taken_at,
        digest=row.digest,
        pending=row.pending,
        placed=row.placed,
        placements=row.placements,
        waits=row.waits,
        cancellations=row.cancellations,
        snapshot=row.snapshot,
        decisions=row.decisions,
    )


async def prune(tx: Transaction, oldest: datetime, most_bytes: int) -> int:
    """Remove passes that are older, and of the others the oldest ones that are too much in all; return how many."""
    sizes = select(
        scheduler_passes.c.id,
        func.sum(scheduler_passes.c.bytes).over(order_by=scheduler_passes.c.id.desc()).label("total"),
    ).subquery()
    last_too_much = select(func.max(sizes.c.id)).where(sizes.c.total > most_bytes).scalar_subquery()
    gone = await tx.execute(
        delete(scheduler_passes).where(
            or_(scheduler_passes.c.taken_at < oldest, scheduler_passes.c.id <= last_too_much)
        )
    )
    return gone.rowcount


async def list_stays(tx: Transaction, of: Sequence[UUID]) -> dict[UUID, Stay]:
    """Return when sessions were placed and ended."""
    wanted = select(sessions.c.id, sessions.c.scheduled_at, sessions.c.terminated_at).where(sessions.c.id.in_(of))
    return {row.id: Stay(row.scheduled_at, row.terminated_at) for row in await tx.execute(wanted)}
