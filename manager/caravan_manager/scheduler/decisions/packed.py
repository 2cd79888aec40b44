"""One pass as it is kept: what it was made from and what it decided, small, and without a word of a user's. Pure."""

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from caravan_manager.scheduler.codec import decode, encode
from caravan_manager.scheduler.sequencers.sequencer import Past
from caravan_manager.scheduler.snapshot import Cancellation, EndReason, Obstacle, Plan, Reason, Snapshot
from caravan_manager.sessions.model import Parent

LEVEL = 1
"""zlib's fastest: the others take three times as long for a tenth less."""
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PackedPass:
    """A pass. ``digest`` tells snapshots apart by all but the moment at which they were taken.

    The numbers are of sessions; ``snapshot`` and ``decisions`` are compressed JSON.
    """

    taken_at: datetime
    digest: bytes
    pending: int
    placed: int
    placements: int
    waits: int
    cancellations: int
    snapshot: bytes
    decisions: bytes

    @classmethod
    def of(cls, snapshot: Snapshot, decided: Plan) -> "PackedPass":
        """Pack a pass."""
        snapshot, decided = without_names(snapshot, decided)
        past = tuple((group, _with_plain_keys(had)) for group, had in snapshot.past)
        given = encode(replace(snapshot, taken_at=_NO_TIME, past=past))
        return cls(
            taken_at=snapshot.taken_at,
            digest=sha256(given).digest(),
            pending=len(snapshot.pending),
            placed=len(snapshot.placed),
            placements=len(decided.placements),
            waits=len(decided.waits),
            cancellations=len(decided.cancellations),
            snapshot=zlib.compress(given, LEVEL),
            decisions=zlib.compress(encode(decided), LEVEL),
        )

    def says_the_same_as(self, other: "PackedPass") -> bool:
        """Say whether another pass decided the same from the same."""
        return self.digest == other.digest and self.decisions == other.decisions

    def unpack_snapshot(self) -> Snapshot:
        """Return what the pass was made from."""
        return replace(decode(Snapshot, zlib.decompress(self.snapshot)), taken_at=self.taken_at)

    def unpack_decisions(self) -> Plan:
        """Return what the pass decided."""
        return decode(Plan, zlib.decompress(self.decisions))


def without_names(snapshot: Snapshot, decided: Plan) -> tuple[Snapshot, Plan]:
    """Put numbers, in the same order, for the names of sessions that others depend on; nothing else is a user's text.

    The plan of the one is the other, as before.
    """
    parents = {parent for session in snapshot.pending for parent in session.parents}
    if not parents:
        return snapshot, decided
    numbers = {name: f"{number:06}" for number, name in enumerate(sorted({parent.name for parent in parents}))}
    words = {_called(parent): _called(replace(parent, name=numbers[parent.name])) for parent in parents}
    pending = tuple(
        replace(s, parents=tuple(replace(parent, name=numbers[parent.name]) for parent in s.parents))
        if s.parents
        else s
        for s in snapshot.pending
    )
    return replace(snapshot, pending=pending), replace(
        decided,
        waits=tuple(replace(wait, reasons=tuple(_renamed(r, words) for r in wait.reasons)) for wait in decided.waits),
        cancellations=tuple(_end_renamed(end, words) for end in decided.cancellations),
    )


def _with_plain_keys(past: Past) -> Past:
    """Return the same; PostgreSQL's driver has UUIDs of its own, which are no keys in JSON."""
    users = {UUID(int=user.int): had for user, had in past.of_users.items()}
    projects = {UUID(int=project.int): had for project, had in past.of_projects.items()}
    return replace(past, of_users=users, of_projects=projects)


def _called(parent: Parent) -> str:
    return f"{parent.name} ({parent.id})"


def _renamed(reason: Reason, words: dict[str, str]) -> Reason:
    if reason.obstacle is not Obstacle.DEPENDENCIES:
        return reason
    return replace(reason, about=tuple(words[name] for name in reason.about))


def _end_renamed(end: Cancellation, words: dict[str, str]) -> Cancellation:
    if end.reason is not EndReason.DEPENDENCY_FAILED:
        return end
    return replace(end, about=tuple(words[name] for name in end.about))
