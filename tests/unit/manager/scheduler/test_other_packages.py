"""What schedulers and selectors of other packages are given: their options, and what tenants had lately."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest
from tests.unit.manager.scheduler.made import NOW, node, seats, session, slots, tenant

from caravan_manager.scheduler import past as past_module
from caravan_manager.scheduler.arrays import Floats, Ints
from caravan_manager.scheduler.demand import Demand
from caravan_manager.scheduler.past import PastReader
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.selectors.selector import Beside, Room
from caravan_manager.scheduler.sequencers.sequencer import Turns, Usage, needs_past
from caravan_manager.scheduler.simulation.simulator import Rules, simulate
from caravan_manager.scheduler.simulation.trace import Arrival, Trace
from caravan_manager.scheduler.snapshot import GroupView, Snapshot
from caravan_manager.sessions.queue import PastUse, PendingSession

NODES = (node("a", 64), node("b", 64), node("c", 64))


class Favourite:
    """A selector that takes the node which an operator names, where it has room."""

    def __init__(self, room: Room) -> None:
        favourite = str(room.options.get("favourite", "c"))
        self.row = room.left.row(favourite)

    def scores(self, demand: Demand, rows: Ints, beside: Beside) -> Floats:
        return np.where(rows == self.row, 0.0, 1.0)

    def ties(self, demand: Demand, rows: Ints) -> Floats:
        return np.zeros(len(rows))


@pytest.mark.parametrize(
    ("options", "where"),
    [({"agent_selector_config": {"favourite": "b"}}, "b"), ({}, "c"), ({"config": {"favourite": "b"}}, "c")],
)
def test_a_selector_reads_the_options_that_an_operator_set_for_it(options: dict[str, object], where: str) -> None:
    found = find_plugins()
    plugins = Plugins(found.sequencers, {**found.selectors, "favourite": Favourite})
    group = GroupView("default", selector="favourite", options=options)
    decided = plan(Snapshot(NOW, NODES, (session(1, slots(1)),), (), (group,)), plugins)
    assert (seats(decided)[1][0][0], decided.troubles) == (where, ())


class LeastLately:
    """A sequencer that names first who had least, and notes what it was given."""

    needs_past = True

    def __init__(self) -> None:
        self.given: list[Mapping[UUID, float]] = []

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        self.given.append(usage.past.of_users)
        least = sorted(pending, key=lambda s: usage.past.of_users.get(s.tenant.user, 0.0))
        for one in least:  # noqa: UP028 - a list takes no answers
            yield one


class Forgetful(LeastLately):
    """The same, which does not ask."""

    needs_past = False


def test_only_who_says_so_needs_the_past() -> None:
    found = find_plugins().sequencers
    assert {name for name, one in found.items() if needs_past(one)} == {"fair-share"}
    assert [needs_past(one) for one in (LeastLately(), Forgetful(), None)] == [True, False, False]


async def test_the_past_is_read_for_each_sequencer_that_asks_whatever_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def list_past(_tx: object, group: str, _half_life: timedelta, _now: datetime) -> Iterable[PastUse]:
        asked.append(group)
        return [PastUse(UUID(int=1), UUID(int=0), "default", "cpu", 128.0)]

    found = find_plugins()
    others = {"least-lately": LeastLately(), "forgetful": Forgetful()}
    monkeypatch.setattr(past_module, "find_plugins", lambda: Plugins({**found.sequencers, **others}, found.selectors))
    monkeypatch.setattr(past_module, "list_past", list_past)
    groups = [GroupView("default", "least-lately"), GroupView("forgetful", "forgetful"), GroupView("gone", "gone")]
    read = dict(await PastReader().read(cast("Any", None), groups, NODES, (), NOW))
    assert asked == list(read) == ["default"]
    assert read["default"].of_users == {UUID(int=1): 128 / (3 * 64)}


@pytest.mark.parametrize(("sequencer", "knows"), [(LeastLately(), True), (Forgetful(), False)])
def test_in_a_simulation_the_past_is_known_to_who_asks(sequencer: LeastLately, knows: bool) -> None:
    coming = (Arrival(session(n, slots(64), pending_since=NOW, tenant=tenant(n)), timedelta(hours=1)) for n in (1, 2))
    rules = Rules("x", NODES[:1], (GroupView("default", "other"),))
    found = find_plugins()
    simulate(Trace(tuple(coming)), rules, Plugins({**found.sequencers, "other": sequencer}, found.selectors))
    assert sequencer.given[-1] == ({UUID(int=1): pytest.approx(3600.0)} if knows else {})
