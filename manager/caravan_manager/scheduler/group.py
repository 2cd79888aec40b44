"""One pass over one scaling group: sessions one by one onto its nodes, room kept for those that do not fit. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import numpy as np

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.scheduler.arrays import Mask
from caravan_manager.scheduler.demand import amount_of, demand_of
from caravan_manager.scheduler.eligibility import Eligibility
from caravan_manager.scheduler.finder import Eligible, Finder
from caravan_manager.scheduler.futures import Futures, expected_ends
from caravan_manager.scheduler.ledger import Ledger, Taken
from caravan_manager.scheduler.options import selector_options
from caravan_manager.scheduler.preemption import Wish, choose_victims
from caravan_manager.scheduler.reservations import DEPTH, Keeper, Reservation
from caravan_manager.scheduler.seats import seats_of
from caravan_manager.scheduler.selectors.first_fit import FirstFit
from caravan_manager.scheduler.selectors.selector import MakeSelector, Room
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    Obstacle,
    Placement,
    Preemption,
    Reason,
    Reserved,
)
from caravan_manager.scheduler.spreading import Replicas
from caravan_manager.scheduler.together import Tries, take_together
from caravan_manager.scheduler.typical import typical_demands
from caravan_manager.sessions.queue import LONGEST_START, KernelRequest, PendingSession, PlacedSession

MOST_LOOKS = 64
"""For how many sessions of a pass without room it is looked when they will have it."""
NO_RULES = GroupView("")
_EVERYWHERE: tuple[Mask | None, ...] = (None,)

_Part = tuple[tuple[KernelRequest, ...], Eligible]
"""Kernels that one node takes together, what they want of it, and the nodes that would do."""
_Where = tuple[str, frozenset[str], frozenset[str], frozenset[str]]
_Shape = tuple[tuple[ResourceSlots, ...], frozenset[str], _Where, ClusterMode, int]
"""What sessions have in common that are placed alike."""


class GroupPass:
    """Takes place after place from the ledger of a scaling group."""

    def __init__(
        self,
        nodes: Sequence[NodeView],
        placed: Sequence[PlacedSession],
        selector: MakeSelector,
        taken_at: datetime,
        pending: Sequence[PendingSession] = (),
        group: GroupView = NO_RULES,
        others: Sequence[PlacedSession] = (),
    ) -> None:
        """``others`` are sessions of other scaling groups: a node may have changed its group under them."""
        usable = [node for node in nodes if node.schedulable]
        self._empty = Ledger.of(usable)
        self._keeper = Keeper(self._empty.holding([*placed, *others]))
        self._eligibility = Eligibility(usable, self._empty)
        self._placed = placed
        self._others = others
        self._begun: list[tuple[PendingSession, Placement]] = []
        self._looks = 0
        self._search = Tries()
        self._full: dict[tuple[Eligible, ...], Reason] = {}
        self._possible: dict[tuple[Eligible, ...], bool] = {}
        self._not_beside: set[tuple[Eligible, tuple[int, ...]]] = set()
        self._selector = selector
        self._typical = typical_demands(pending, placed, sorted(self._empty.devices))
        self._now = taken_at
        self._options = selector_options(group.options)
        self._futures: Futures | None = None
        self._shapes: dict[_Shape, Eligible | Reason] = {}
        self._finder = self._without_reservations = self._find_in(self._keeper.now)
        self._preemption = group.preemption
        self._replicas = Replicas(self._empty, [*placed, *others]) if group.spread_replicas else None
        self._ending = [session for session in placed if session.is_ending]
        self.reserved: list[Reserved] = []
        self.preemptions: list[Preemption] = []

    def place(self, session: PendingSession) -> Placement | Reason:
        """Take room for the whole session and return its seats, or leave everything as it is and say what is missing.

        For a session that would fit later, room is kept; where the rules allow it, others are to end for it.
        """
        parts = self._parts(session)
        if isinstance(parts, Reason):
            return parts
        shape = tuple([eligible for _, eligible in parts])
        if (full := self._full.get(shape)) is not None:  # what is left only becomes less in a pass
            return full
        ends_at = session.latest_end(self._now, LONGEST_START)
        endpoint = None if self._replicas is None else session.endpoint
        taken = self._take(self._keeper, self._finder, parts, ends_at, endpoint)
        if taken is None and endpoint is not None and len(parts) > 1:  # no gang waits because of what is only wished
            taken = self._take(self._keeper, self._finder, parts, ends_at)
        if taken is not None:
            return self._begin(session, self._placement(session, parts, taken))
        reason = self._reason(parts)
        if reason.obstacle is Obstacle.NO_ROOM:
            served = {kept.session for kept in self.reserved} | {one.session for one in self.preemptions}
            if len(served) < DEPTH and self._looks < MOST_LOOKS:
                self._looks += 1
                self._preempt(session, parts)
                self._reserve(session, parts)
            self._full[shape] = reason
        return reason

    def _begin(self, session: PendingSession, placement: Placement) -> Placement:
        self._begun.append((session, placement))
        self._futures = None
        if self._replicas is not None and session.endpoint is not None:
            self._replicas.add(session.endpoint, (seat.node for _, seat in placement.seats))
        return placement

    def _parts(self, session: PendingSession) -> list[_Part] | Reason:
        """Return what must be placed together: all on a single node, or each kernel for itself."""
        together = (
            [session.kernels]
            if session.cluster_mode is ClusterMode.SINGLE_NODE
            else [(kernel,) for kernel in session.kernels]
        )
        parts: list[_Part] = []
        for kernels in together:
            eligible = self._eligible(kernels, session)
            if isinstance(eligible, Reason):
                return eligible
            parts.append((kernels, eligible))
        if len(parts) == 1:
            return parts
        # The largest first: what is small finds room beside it more often than the other way round.
        parts.sort(key=lambda part: part[1].demand.size, reverse=True)
        return self._if_ever_possible(parts)

    def _if_ever_possible(self, parts: list[_Part]) -> list[_Part] | Reason:
        """Return the parts, or say that the nodes have not enough for all of them together when nobody uses them."""
        shape = tuple(eligible for _, eligible in parts)
        if shape not in self._possible:
            self._possible[shape] = self._seek(self._empty.copy(), parts) is not None
        if self._possible[shape]:
            return parts
        return Reason(Obstacle.LARGER_THAN_ANY_NODE, self._eligibility.names(parts[0][1]))

    def _eligible(self, kernels: tuple[KernelRequest, ...], session: PendingSession) -> Eligible | Reason:
        slots = tuple(kernel.slots for kernel in kernels)
        designated = session.nodes_for(kernels)
        where = (session.architecture, designated, session.volumes, session.avoid)
        shape = (slots, session.models, where, session.cluster_mode, len(session.kernels))
        if (known := self._shapes.get(shape)) is None:
            demand = demand_of(slots, self._empty.devices.keys(), session.models)
            known = self._shapes[shape] = self._eligibility.of(session, demand, designated)
        return known

    def _find_in(self, ledger: Ledger) -> Finder:
        return Finder(ledger, self._selector(Room(ledger, self._empty, self._typical, self._options)))

    def _take(
        self,
        keeper: Keeper,
        finder: Finder,
        parts: Sequence[_Part],
        ends_at: datetime | None,
        endpoint: UUID | None = None,
    ) -> list[Taken] | None:
        """Take the best node for each part, or any nodes that do for all, or none.

        With an ``endpoint`` nodes that have fewer of its sessions are better than others, where the rules say so.
        """
        taken: list[Taken] = []
        for _, eligible in parts:
            found = None
            for among in self._tiers(endpoint, eligible):
                found = self._seat(keeper, finder, eligible, ends_at, among, is_first=not taken)
                if found is not None:
                    break
            if found is None:
                for part in reversed(taken):
                    keeper.give_back(part, ends_at)
                return take_together(keeper, [of_part for _, of_part in parts], ends_at, self._search)
            keeper.take(found, ends_at)
            taken.append(found)
        return taken

    def _tiers(self, endpoint: UUID | None, eligible: Eligible) -> Iterable[Mask | None]:
        """Return among which nodes a place is looked for, one after the other; None is all of them."""
        if endpoint is None or self._replicas is None:
            return _EVERYWHERE
        return self._replicas.tiers(endpoint, eligible.rows)

    def _seat(
        self,
        keeper: Keeper,
        finder: Finder,
        eligible: Eligible,
        ends_at: datetime | None,
        among: Mask | None,
        is_first: bool,
    ) -> Taken | None:
        """Return the best node that nothing is kept of; for a session that ends also one that is kept for later."""
        row = finder.find(eligible, among)
        if row is not None:
            return keeper.open.pick(eligible.demand, row)
        if ends_at is None or not keeper.reservations:
            return None
        key = (eligible, keeper.binding(ends_at))
        if key in self._not_beside:
            return None
        kept = keeper.beside(eligible, ends_at)
        beside = next((taken for taken in kept if among is None or among[taken.row]), None)
        # Behind other parts of a gang there may be room again when these are given back.
        if beside is None and is_first and among is None:
            self._not_beside.add(key)
        return beside

    def _placement(self, session: PendingSession, parts: Sequence[_Part], taken: Sequence[Taken]) -> Placement:
        seats = [
            seat
            for (kernels, _), part in zip(parts, taken, strict=True)
            for seat in seats_of(kernels, part, self._empty)
        ]
        if len(seats) > 1:
            of_kernel = dict(seats)
            seats = [(kernel.id, of_kernel[kernel.id]) for kernel in session.kernels]
        return Placement(session.id, tuple(seats))

    def _reason(self, parts: Sequence[_Part]) -> Reason:
        """Say whether there is no room at all, or only none that is not kept for others."""
        if self._keeper.reservations:
            plain = Keeper(self._keeper.now)
            if (taken := self._take(plain, self._without_reservations, parts, None)) is not None:
                for part in reversed(taken):
                    plain.give_back(part, None)
                ahead = self._keeper.kept_for({part.row for part in taken})
                return Reason(Obstacle.BEHIND_THE_HEAD, tuple(str(session) for session in ahead))
        return Reason(Obstacle.NO_ROOM, self._eligibility.names(parts[0][1]))

    def _preempt(self, session: PendingSession, parts: Sequence[_Part]) -> None:
        """Choose who is to end for the session, unless there will be room when those have ended that do already."""
        if self._preemption is None:
            return
        left = self._in_turn(self._ending).last(self._left_beside_reservations())
        if self._makes_room(left, parts, ()) is not None:
            return
        ending = {one.id for one in self._ending}
        others = [one for one in self._placed if one.id not in ending]
        wish = Wish(session, lambda ends: self._makes_room(left, parts, ends), len(parts) > 1)
        victims = choose_victims(wish, others, self._preemption, self._now, self._capacity())
        if victims:
            mode, grace = self._preemption.mode, self._preemption.grace
            self._ending += [replace(victim, is_ending=True, ends_at=self._now + grace) for victim in victims]
            self._futures = None
            self.preemptions += [Preemption(one.id, mode, session.id, one.attempt, grace) for one in victims]

    def _makes_room(
        self, left: Ledger, parts: Sequence[_Part], ends: Sequence[PlacedSession]
    ) -> tuple[int, set[str]] | None:
        """Say how many of the sessions, the first ones, must end beside what is left, and on which nodes."""
        future = self._in_turn(ends).first(left, lambda ledger: self._seek(ledger, parts))
        if future is None:
            return None
        return future.ended, {self._empty.names[part.row] for part in future.found}

    def _in_turn(self, ends: Sequence[PlacedSession]) -> Futures:
        return Futures(self._empty, [(self._now, one) for one in ends])

    def _capacity(self) -> dict[str, float]:
        """Return what the nodes have in all, of each slot in the units of the ledger."""
        everywhere = np.arange(len(self._empty.names))
        slots = [*self._empty.slots, *self._empty.devices]
        return {slot: float(amount_of(slot, int(self._empty.left(slot, everywhere).sum()))) for slot in slots}

    def _reserve(self, session: PendingSession, parts: Sequence[_Part]) -> None:
        """Keep the first room that there will be, beside what is kept already; none if the nodes never have enough."""
        future = self._ends_to_come().first(self._left_beside_reservations(), lambda ledger: self._seek(ledger, parts))
        if future is None:
            return
        self._keeper.reserve(Reservation.of(session.id, self._now, future.at, future.found, future.ledger))
        self._finder = self._find_in(self._keeper.open)
        names = tuple(self._empty.names[part.row] for part in future.found)
        self.reserved.append(Reserved(session.id, names, future.at))

    def _ends_to_come(self) -> Futures:
        if self._futures is None:
            ending = {one.id: one for one in self._ending}
            held = [ending.get(one.id, one) for one in (*self._placed, *self._others)]
            held += [one.placed(placement.seats, self._now, LONGEST_START) for one, placement in self._begun]
            self._futures = Futures(self._empty, expected_ends(held, self._now))
        return self._futures

    def _left_beside_reservations(self) -> Ledger:
        """Return what is left now when all for whom room is kept had it already; less than nothing, as a rule."""
        left = self._keeper.now.copy()
        for kept in self._keeper.reservations:
            for part in kept.taken:
                left.take(part.row, part.amounts)
        return left

    def _seek(self, ledger: Ledger, parts: Sequence[_Part]) -> list[Taken] | None:
        return self._take(Keeper(ledger), Finder(ledger, FirstFit()), parts, None)
