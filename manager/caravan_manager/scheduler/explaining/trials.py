"""Asks the planner what would be, as often as it may. Deterministic unless the caller's clock ends it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from caravan_manager.scheduler.explaining.changes import Change, apply_all
from caravan_manager.scheduler.explaining.model import Counterfactual
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins
from caravan_manager.scheduler.snapshot import Placement, Plan, Snapshot, Wait

MOST_RUNS = 24


def always() -> bool:
    """Say that there is time."""
    return True


class NoMoreTrialsError(Exception):
    """The planner was asked as often as it may be, or for as long; what is known by then is the answer."""


@dataclass(slots=True)
class Trials:
    """The planner, one snapshot and one pending session."""

    snapshot: Snapshot
    session: UUID
    plugins: Plugins
    most: int = MOST_RUNS
    may_go_on: Callable[[], bool] = always
    runs: int = 0
    _known: dict[tuple[Change, ...], Plan] = field(default_factory=dict[tuple[Change, ...], Plan])

    def plan(self, *changes: Change) -> Plan:
        """Return the plan after some changes. Raises NoMoreTrialsError."""
        if (known := self._known.get(changes)) is None:
            known = self._known[changes] = self.plan_of(apply_all(changes, self.snapshot, self.session))
        return known

    def plan_of(self, snapshot: Snapshot) -> Plan:
        """Return the plan of any snapshot. Raises NoMoreTrialsError."""
        if self.runs >= self.most or (self.runs and not self.may_go_on()):
            raise NoMoreTrialsError
        self.runs += 1
        return plan(snapshot, self.plugins)

    def placement(self, *changes: Change) -> Placement | None:
        """Return where the session starts after some changes; None when it does not."""
        return placement_of(self.plan(*changes), self.session)

    def wait(self, *changes: Change) -> Wait | None:
        """Return why the session still waits after some changes; None when it does not."""
        return next((w for w in self.plan(*changes).waits if w.session == self.session), None)

    def counterfactual(self, *changes: Change) -> Counterfactual | None:
        """Return the changes with where the session starts after them; None when it does not."""
        placement = self.placement(*changes)
        return None if placement is None else Counterfactual(changes, placement)


def placement_of(decided: Plan, session: UUID) -> Placement | None:
    """Return a session's placement in a plan."""
    return next((p for p in decided.placements if p.session == session), None)
