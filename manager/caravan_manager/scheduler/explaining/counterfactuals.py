"""What would have to change for a session to start now. Everything that is told was tried with the planner. Pure.

What costs one run is tried first; the search for the largest request that fits takes the runs that are left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from caravan_common.slots import ResourceSlots
from caravan_common.wire.devices import kind_of
from caravan_manager.scheduler.explaining.changes import (
    AnyNode,
    Change,
    DependenciesSucceed,
    HigherPriority,
    MoreQuota,
    OtherGroup,
    OtherModels,
    OtherSlot,
    SessionsGone,
    TimeComes,
    TimeLimit,
)
from caravan_manager.scheduler.explaining.endings import cost, latest_first, sets_of_one_node
from caravan_manager.scheduler.explaining.forward import started_in
from caravan_manager.scheduler.explaining.model import Counterfactual
from caravan_manager.scheduler.explaining.obstructions import Nodes, passed_limits, usage
from caravan_manager.scheduler.explaining.reductions import fewer_kernels, less_of, less_of_all, slots_of
from caravan_manager.scheduler.explaining.trials import NoMoreTrialsError, Trials
from caravan_manager.scheduler.snapshot import CHECKS, NodeView, Obstacle, Placement, Wait
from caravan_manager.sessions.queue import LONGEST_START, PendingSession, PlacedSession

GROUPS = 3
"""How many other scaling groups are tried."""
ACCELERATORS = 3
"""How many other models, and how many other slots, are tried."""
GONE = 3
"""How many sets of sessions that hold nodes are tried."""
HEADS = 3
"""How many sessions for which room is kept are tried one by one."""


@dataclass(slots=True)
class Found:
    """What helps, and the reasons that come after the checks, where these alone do not keep the session back."""

    helping: list[Counterfactual] = field(default_factory=list[Counterfactual])
    then: Wait | None = None
    complete: bool = True


class Search:
    """Looks for changes with which one session starts.

    ``groups`` are the scaling groups that it may use, ``highest`` the priority that it may have at most.
    """

    def __init__(self, trials: Trials, wait: Wait, groups: Sequence[str], highest: int) -> None:
        self._trials = trials
        self._snapshot = trials.snapshot
        self._session = next(s for s in trials.snapshot.pending if s.id == trials.session)
        self._wait = wait
        self._groups = groups
        self._highest = highest
        self._first: tuple[Change, ...] = ()
        """What must change in any case: that its time comes, and that what it depends on succeeds."""
        self._quota: tuple[Change, ...] = ()
        """More quota, where it is not enough: only with it are the nodes looked at."""
        self._found = Found()

    def search(self) -> Found:
        """Try all ways, or as many as there are runs for."""
        try:
            if not self._lift_checks():
                for way in self._ways():
                    way()
        except NoMoreTrialsError:
            self._found.complete = False
        return self._found

    def _ways(self) -> list[Callable[[], None]]:
        ways: list[Callable[[], None]] = []
        if self._wait.obstacle not in CHECKS:
            ways += [self._other_groups, self._other_accelerators, self._any_node]
        if self._wait.obstacle is Obstacle.BEHIND_THE_HEAD:
            ways += [self._shorter, self._sooner]
        if self._wait.obstacle is Obstacle.NO_ROOM:
            ways.append(self._sessions_gone)
        if self._missing(self._snapshot.placed):
            ways.append(self._gone_from_quota)
        return [*ways, self._fewer_kernels, self._smaller]

    def _try(self, *changes: Change) -> bool:
        """Try changes beside those that are needed anyway, and keep them if the session starts."""
        found = self._trials.counterfactual(*self._first, *changes)
        if found is not None and found not in self._found.helping:
            self._found.helping.append(found)
        return found is not None

    def _lift_checks(self) -> bool:
        """Let its time come and what it depends on succeed; then raise quotas by what is missing.

        Says whether the first was enough. Afterwards ``_wait`` is what keeps the session back then.
        """
        first: list[Change] = []
        for reason in self._wait.reasons:
            if reason.obstacle is Obstacle.NOT_YET and self._session.starts_at is not None:
                first.append(TimeComes(self._session.starts_at))
            elif reason.obstacle is Obstacle.DEPENDENCIES:
                first.append(DependenciesSucceed(reason.about))
        self._first = tuple(first)
        if first and self._try():
            return True
        left = self._trials.wait(*self._first)
        if left is not None and left.obstacle in CHECKS:
            left = self._with_quota() or left
        if left is not None and left is not self._wait:
            self._wait = left
            if left.obstacle not in CHECKS:
                self._found.then = left
        return left is None

    def _with_quota(self) -> Wait | None:
        """Raise quotas by what is missing now, else by what those who go first take as well.

        Returns what keeps the session back among the nodes then, if anything does.
        """
        started = started_in(self._snapshot, self._trials.plan())
        rivals = [s for s in self._ahead() if not set(s.holders).isdisjoint(self._session.holders)]
        placed = self._snapshot.placed
        more: tuple[list[PlacedSession | PendingSession], ...] = ([], [*started], [*started, *rivals])
        for others in more:
            quota = self._missing([*placed, *others])
            if not quota or self._try(*quota):
                return None
            left = self._trials.wait(*self._first, *quota)
            if left is not None and left.obstacle not in CHECKS:
                self._quota = quota
                return left
        return None

    def _missing(self, held: Sequence[PlacedSession | PendingSession]) -> tuple[MoreQuota, ...]:
        """Return what quotas lack for the session beside others."""
        raised: list[MoreQuota] = []
        for quota in self._snapshot.quotas:
            if quota.holder in self._session.holders:
                states = passed_limits(self._session, quota, *usage(quota.holder, held))
                slots = ResourceSlots({s.slot: s.missing for s in states if s.slot is not None})
                count = int(sum(s.missing for s in states if s.slot is None))
                if slots or count:
                    raised.append(MoreQuota(quota.holder, slots, count))
        return tuple(raised)

    def _ahead(self) -> list[PendingSession]:
        """Return the waiting sessions that get their turn before."""
        order = [wait.session for wait in self._trials.plan().waits]
        before = set(order[: order.index(self._session.id)])
        return [session for session in self._snapshot.pending if session.id in before]

    def _other_groups(self) -> None:
        there = {node.scaling_group for node in self._snapshot.nodes if node.schedulable} - {
            self._session.scaling_group
        }
        for name in [name for name in self._groups if name in there][:GROUPS]:
            self._try(*self._quota, OtherGroup(name))

    def _other_accelerators(self) -> None:
        """Try other models where the session names some, and other slots of the same kind of accelerator."""
        devices = [device for node in self._nodes() for device in node.devices]
        asked = slots_of(self._session)
        models = sorted({d.model for d in devices if d.slot in asked} - self._session.models)
        for model in models[:ACCELERATORS] if self._session.models else ():
            self._try(*self._quota, OtherModels(frozenset([model])))
        offered = sorted({device.slot for device in devices} - set(asked))
        pairs = [(slot, other) for slot in asked for other in offered if kind_of(slot) == kind_of(other)]
        for before, after in pairs[:ACCELERATORS]:
            self._try(*self._quota, OtherSlot(before, after))

    def _any_node(self) -> None:
        if self._session.nodes:
            self._try(*self._quota, AnyNode(self._session.nodes))

    def _shorter(self) -> None:
        """Let it end before those start for which room is kept."""
        now, own = self._snapshot.taken_at, self._session.time_limit
        reserved = self._trials.plan(*self._first, *self._quota).reserved
        latest = now + LONGEST_START
        limits = {
            kept.starts_at - latest for kept in reserved if kept.starts_at is not None and kept.starts_at > latest
        }
        for limit in sorted(limits, reverse=True)[:2]:
            if (own is None or limit < own) and self._try(*self._quota, TimeLimit(limit)):
                return

    def _sooner(self) -> None:
        """Give it a priority above those for whom room is kept, or take these out of the queue."""
        heads = [UUID(text) for text in self._wait.about]
        highest = max((s.priority for s in self._snapshot.pending if s.id in heads), default=self._highest)
        if self._session.priority <= highest < self._highest:
            self._try(*self._quota, HigherPriority(highest + 1))
        helped = [self._try(*self._quota, SessionsGone((head,))) for head in heads[:HEADS]]
        if len(heads) > 1 and not any(helped):
            self._try(*self._quota, SessionsGone(tuple(heads)))

    def _sessions_gone(self) -> None:
        """Take sessions away that hold what is missing: as few as possible, the smallest and latest first."""
        sets = sets_of_one_node(Nodes(self._snapshot, self._session, self._snapshot.placed))
        helped = [self._try(*self._quota, SessionsGone(gone)) for gone in sets[:GONE]]
        if not any(helped):
            self._gone_in_order()

    def _gone_in_order(self) -> None:
        """Take away the latest ones until the session starts; then put back those that are not on its nodes."""
        order = latest_first(self._snapshot.placed, [node.name for node in self._nodes()])
        low, high = 0, len(order) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._without(order[:middle]) else (middle, high)
        if high > len(order) or (placement := self._without(order[:high])) is None:
            return
        fewer = latest_first(order[:high], [seat.node for _, seat in placement.seats])
        gone = fewer if self._without(fewer) else order[:high]
        self._try(*self._quota, SessionsGone(tuple(session.id for session in gone)))

    def _without(self, gone: Sequence[PlacedSession]) -> Placement | None:
        ids = tuple(session.id for session in gone)
        return self._trials.placement(*self._first, *self._quota, SessionsGone(ids))

    def _gone_from_quota(self) -> None:
        """Take single sessions away that leave enough of the quotas."""
        placed, holders = self._snapshot.placed, set(self._session.holders)
        own = [session for session in placed if not holders.isdisjoint(session.holders)]
        enough = [session for session in own if not self._missing([s for s in placed if s is not session])]
        for session in sorted(enough, key=cost)[:GONE]:
            if self._try(SessionsGone((session.id,))):
                return

    def _fewer_kernels(self) -> None:
        self._largest(fewer_kernels(self._session))

    def _smaller(self) -> None:
        """Lower one slot to the most with which the session starts; where no slot alone helps, all that are short."""
        lacking, nodes = self._lacking(), self._nodes()
        helped = [self._largest(less_of(slot, self._session, nodes)) for slot in lacking]
        if len(lacking) > 1 and not any(helped):
            self._largest(less_of_all(lacking, self._session, nodes))

    def _largest(self, ascending: Sequence[Change]) -> bool:
        """Try the smallest; if it helps, find the largest that does by halving, and keep that."""
        if not ascending or not self._starts(ascending[0]):
            return False
        low, high = 0, len(ascending)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts(ascending[middle]) else (low, middle)
        return self._try(ascending[low])

    def _starts(self, change: Change) -> bool:
        return self._trials.placement(*self._first, change) is not None

    def _lacking(self) -> list[str]:
        """Return the slots that are worth lowering: those of passed quotas, and those that nodes lack."""
        slots = {slot for change in self._missing(self._snapshot.placed) for slot in change.slots}
        if self._wait.obstacle is Obstacle.BEHIND_THE_HEAD:
            slots.update(slots_of(self._session))
        elif self._wait.obstacle not in CHECKS:
            started = started_in(self._snapshot, self._trials.plan())
            nodes = Nodes(self._snapshot, self._session, (*self._snapshot.placed, *started))
            states = nodes.states(empty=self._wait.obstacle is Obstacle.LARGER_THAN_ANY_NODE)
            slots.update(lack.slot for state in states for lack in state.lacks)
        return sorted(slots, key=lambda slot: (slot in {"cpu", "mem"}, slot))

    def _nodes(self) -> list[NodeView]:
        group = self._session.scaling_group
        return [node for node in self._snapshot.nodes if node.scaling_group == group and node.schedulable]
