"""The answer to who asks why a session waits, as values that become JSON, GraphQL and pages."""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class ToldReason:
    """One reason. ``only_then`` says that it would remain if those before were gone; ``facts`` are for programs."""

    name: str
    text: str
    only_then: bool = False
    details: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class ToldHelp:
    """One way to make it start now, which the planner was asked about, and where it would start."""

    kind: str
    text: str
    seats: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Told:
    """The answer. ``verdict`` is ``starts``, ``waits``, ``is-cancelled``, or ``not-in-queue``.

    ``would_help`` is what makes it start now; for one that is too large for every node, ``possible_if`` is what makes
    it start if nobody else is there.
    """

    session: dict[str, object]
    verdict: str
    summary: str
    asked_at: str
    queue: dict[str, object] | None = None
    seats: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    reasons: tuple[ToldReason, ...] = ()
    would_help: tuple[ToldHelp, ...] = ()
    possible_if: tuple[ToldHelp, ...] = ()
    estimate: dict[str, object] | None = None
    planner_runs: int = 0
    complete: bool = True

    def to_json(self) -> dict[str, object]:
        """Return all of it as JSON."""
        return asdict(self)
