"""Who goes first: the sequencers, and what plugins may get wrong without stopping a pass."""

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from uuid import UUID

import pytest
from tests.unit.manager.scheduler.made import NOW, decide, node, seats, session, slots, started, tenant

from caravan_manager.quotas.model import Tenant
from caravan_manager.scheduler import guard
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.sequencers.fair_share import CHARGE_SECONDS
from caravan_manager.scheduler.sequencers.sequencer import Past, Turns, Usage
from caravan_manager.scheduler.snapshot import GroupView, Plan, Snapshot
from caravan_manager.sessions.queue import PendingSession


def of(owner: Tenant, *numbers: int, cpu: float = 1, gib: float = 1) -> list[PendingSession]:
    return [session(number, slots(cpu, gib), tenant=owner) for number in numbers]


def test_the_built_in_plugins_are_found() -> None:
    found = find_plugins()
    assert {"fifo", "lifo", "drf", "fair-share"} <= set(found.sequencers)
    assert {"packed", "concentrated", "dispersed", "roundrobin"} <= set(found.selectors)


def test_lifo_starts_the_newest_first() -> None:
    assert list(seats(decide((node("a", 1, 64),), *of(tenant(1), 1, 2, 3), sequencer="lifo"))) == [3]


def test_drf_fills_the_smallest_dominant_share_each_time() -> None:
    # Nine cpu and 18 GiB; one user wants 1 cpu and 4 GiB, the other 3 cpu and 1 GiB: the example of the paper.
    memory, cpu = of(tenant(1), *range(1, 9), gib=4), of(tenant(2), *range(11, 19), cpu=3)
    decided = decide((node("a", 9, 18),), *memory, *cpu, sequencer="drf")
    assert Counter("memory" if n < 10 else "cpu" for n in seats(decided)) == {"memory": 3, "cpu": 2}


def test_drf_counts_what_users_hold_already() -> None:
    held = session(99, slots(4, 1), tenant=tenant(1))
    nodes = (node("a", 8, 64),)
    placed = tuple(started(placement, held) for placement in decide(nodes, held).placements)
    decided = decide(nodes, *of(tenant(1), 1, 2, 3), *of(tenant(2), 4, 5, 6), placed=placed, sequencer="drf")
    assert list(seats(decided)) == [4, 5, 6, 1]


def shared(past: Past, *pending: PendingSession, **options: object) -> Plan:
    group = GroupView("default", sequencer="fair-share", options=options)
    snapshot = Snapshot(NOW, (node("a", 2, 64),), pending, (), (group,), past=(("default", past),))
    return plan(snapshot, find_plugins())


def test_fair_share_starts_who_had_least_lately() -> None:
    past = Past(of_users={UUID(int=1): 100.0, UUID(int=2): 50.0})
    assert list(seats(shared(past, *of(tenant(1), 1), *of(tenant(2), 2), *of(tenant(3), 3)))) == [3, 2]


def test_fair_share_gives_nobody_the_whole_of_a_pass() -> None:
    past = Past(of_users={UUID(int=1): CHARGE_SECONDS / 4})
    assert sorted(seats(shared(past, *of(tenant(1), 1), *of(tenant(2), 2, 3)))) == [1, 2]


def test_fair_share_looks_at_domains_before_users_and_at_weights() -> None:
    other = replace(tenant(2), domain="other")
    past = Past(of_users={UUID(int=2): 900.0}, of_domains={"default": 100.0, "other": 80.0})
    both = (*of(tenant(1), 1, cpu=2), *of(other, 2, cpu=2))
    assert list(seats(shared(past, *both))) == [2]
    weights = {"domains": {"default": 2}}
    assert list(seats(shared(past, *both, fair_share_weights=weights))) == [1]


def test_fair_share_looks_at_projects_before_users_and_at_their_weights() -> None:
    other = replace(tenant(2), project=UUID(int=9))
    past = Past(of_users={UUID(int=2): 900.0}, of_projects={UUID(int=0): 100.0, UUID(int=9): 80.0})
    both = (*of(tenant(1), 1, cpu=2), *of(other, 2, cpu=2))
    assert list(seats(shared(past, *both))) == [2]
    weights = {"projects": {str(UUID(int=0)): 2}}
    assert list(seats(shared(past, *both, fair_share_weights=weights))) == [1]


def test_a_user_of_twice_the_weight_may_have_had_twice_as_much() -> None:
    both = (*of(tenant(1), 1, cpu=2), *of(tenant(2), 2, cpu=2))
    weights = {"users": {str(UUID(int=1)): 2}}
    for had, first in ((199.0, 1), (201.0, 2)):
        past = Past(of_users={UUID(int=1): had, UUID(int=2): 100.0})
        assert list(seats(shared(past, *both))) == [2]
        assert list(seats(shared(past, *both, fair_share_weights=weights))) == [first]


def test_a_weight_below_one_puts_its_holder_back() -> None:
    past = Past(of_users={UUID(int=1): 60.0, UUID(int=2): 100.0})
    both = (*of(tenant(1), 1, cpu=2), *of(tenant(2), 2, cpu=2))
    assert list(seats(shared(past, *both))) == [1]
    assert list(seats(shared(past, *both, fair_share_weights={"users": {str(UUID(int=1)): 0.5}}))) == [2]


class Wrong:
    """A sequencer that gets one thing wrong."""

    def __init__(self, how: str) -> None:
        self.how = how

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        if self.how == "raises":
            raise RuntimeError("no")
        if self.how == "yields nothing":
            yield None
        yield pending[-1]
        if self.how == "repeats":
            yield pending[-1]
        if self.how == "stops":
            raise RuntimeError("half-way")


@pytest.mark.parametrize(
    ("how", "troubles"), [("raises", 1), ("stops", 1), ("yields nothing", 1), ("forgets", 0), ("repeats", 0)]
)
def test_a_sequencer_that_gets_it_wrong_forgets_nobody_and_stops_nothing(how: str, troubles: int) -> None:
    found = find_plugins()
    plugins = Plugins({**found.sequencers, "wrong": Wrong(how)}, found.selectors)
    group = GroupView("default", sequencer="wrong")
    decided = plan(Snapshot(NOW, (node("a"),), tuple(of(tenant(1), 1, 2, 3)), (), (group,)), plugins)
    first = [1, 2, 3] if how in {"raises", "yields nothing"} else [3, 1, 2]
    assert list(seats(decided)) == first
    assert [trouble.plugin for trouble in decided.troubles] == ["wrong"] * troubles


class Broken:
    def __init__(self, room: object) -> None:
        pass

    def scores(self, demand: object, rows: object, beside: object) -> object:
        return [float("nan")]


@pytest.mark.parametrize("selector", [Broken, lambda room: 1 / 0])
def test_a_selector_that_gets_it_wrong_is_answered_for_by_the_default(selector: object) -> None:
    found = find_plugins()
    plugins = Plugins(found.sequencers, {**found.selectors, "wrong": selector})
    group = GroupView("default", selector="wrong")
    decided = plan(Snapshot(NOW, (node("b"), node("a")), tuple(of(tenant(1), 1)), (), (group,)), plugins)
    assert seats(decided)[1][0][0] == "a"
    assert len(decided.troubles) == 1


class FailsLater:
    """Prefers the last node, once."""

    def __init__(self, room: object) -> None:
        self.asked = 0

    def scores(self, demand: object, rows: Sequence[int], beside: object) -> object:
        self.asked += 1
        return [-float(row) for row in rows] if self.asked == 1 else 1 / 0

    def ties(self, demand: object, rows: Sequence[int]) -> object:
        return [0.0 for _ in rows]


def test_what_a_selector_said_before_it_failed_is_not_compared_with_what_the_default_says() -> None:
    found = find_plugins()
    plugins = Plugins(found.sequencers, {**found.selectors, "wrong": FailsLater})
    group = GroupView("default", selector="wrong")
    nodes = node("a", cpu=4), node("b", cpu=64)
    decided = plan(Snapshot(NOW, nodes, tuple(of(tenant(1), 1, 2)), (), (group,)), plugins)
    assert [where[0][0] for where in seats(decided).values()] == ["b", "a"]


class Hangs:
    """Answers nobody until the test is over."""

    def __init__(self, over: Event, when_made: bool = False) -> None:
        self.over = over
        self.when_made = when_made
        self.asked = 0

    def __call__(self, room: object) -> "Hangs":
        return self if not self.when_made else self._never()

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        yield pending[-1]
        self._never()

    def scores(self, demand: object, rows: object, beside: object) -> object:
        return self._never()

    def _never(self) -> "Hangs":
        self.asked += 1
        self.over.wait(60)
        return self


@pytest.fixture
def over() -> Iterator[Event]:
    """What a plugin that hangs waits for."""
    event = Event()
    yield event
    event.set()


@pytest.mark.parametrize("kind", ["sequencer", "selector", "selector when made"])
def test_a_plugin_that_hangs_holds_up_one_pass_for_a_second_and_is_not_asked_again_soon(
    kind: str, over: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PLUGIN_SECONDS", 0.2)
    found, hangs = find_plugins(), Hangs(over, when_made=kind.endswith("made"))
    plugins = Plugins({**found.sequencers, "hangs": hangs}, {**found.selectors, "hangs": hangs})
    groups = [GroupView(name, **{kind.partition(" ")[0]: "hangs"}) for name in ("default", "other")]
    nodes = (node("a"), node("b", scaling_group="other"))
    waiting = (*of(tenant(1), 1, 2, 3), replace(session(4, slots(1)), scaling_group="other"))
    began = time.monotonic()
    for _ in range(2):
        decided = plan(Snapshot(NOW, nodes, waiting, (), tuple(groups)), plugins)
        assert sorted(seats(decided)) == [1, 2, 3, 4]
        assert [trouble.plugin for trouble in decided.troubles] == ["hangs"] * 2
    assert hangs.asked == 1
    assert time.monotonic() - began < 2
    ((key, (until, thread)),) = plugins.resting.until.items()
    plugins.resting.until[key] = until - guard.REST_SECONDS, thread
    plan(Snapshot(NOW, nodes, waiting, (), (groups[0],)), plugins)
    assert hangs.asked == 1  # it is busy still
    over.set()
    thread.join(10)
    assert not thread.is_alive()
    plan(Snapshot(NOW, nodes, waiting, (), (groups[0],)), plugins)
    assert hangs.asked > 1


class Slow:
    """Takes a while for each priority, and once it raises in the end."""

    def __init__(self, seconds: float, *, raises: bool = False) -> None:
        self.seconds = seconds
        self.raises = raises

    def turns(self, pending: Sequence[PendingSession], usage: Usage, options: Mapping[str, object]) -> Turns:
        time.sleep(self.seconds)
        if self.raises:
            raise RuntimeError("after all")
        yield from pending


def test_what_a_plugin_takes_in_a_pass_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PLUGIN_SECONDS", 0.3)
    found = find_plugins()
    plugins = Plugins({**found.sequencers, "slow": Slow(0.1)}, found.selectors)
    waiting = tuple(session(number, slots(1), priority=number) for number in range(1, 31))
    began = time.monotonic()
    decided = plan(Snapshot(NOW, (node("a"),), waiting, (), (GroupView("default", "slow"),)), plugins)
    assert time.monotonic() - began < 1
    assert len(decided.placements) == 30
    assert {"longer than 0.3 s" in trouble.error for trouble in decided.troubles} == {True}


def test_the_thread_of_a_plugin_that_fails_too_late_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PLUGIN_SECONDS", 0.1)
    found = find_plugins()
    plugins = Plugins({**found.sequencers, "slow": Slow(0.3, raises=True)}, found.selectors)
    plan(Snapshot(NOW, (node("a"),), (session(1, slots(1)),), (), (GroupView("default", "slow"),)), plugins)
    ((_, thread),) = plugins.resting.until.values()
    thread.join(10)
    assert not thread.is_alive()


def test_somebody_elses_slow_plugins_are_not_ones_own() -> None:
    plugins = find_plugins()
    plugins.resting.must_not_rest(("scheduler", "slow"))
    other = plugins.for_itself()
    other.resting.rest(("scheduler", "slow"), threading.Thread())
    with pytest.raises(guard.PluginSlowError):
        other.resting.must_not_rest(("scheduler", "slow"))
    other.resting.must_not_rest(("selector", "slow"))
    plugins.resting.must_not_rest(("scheduler", "slow"))
    never = plugins.for_itself(rest_seconds=0)
    never.resting.rest(("scheduler", "slow"), threading.Thread())
    never.resting.must_not_rest(("scheduler", "slow"))


def test_a_plugin_that_would_end_the_process_is_answered_for() -> None:
    def leave(room: object) -> object:
        sys.exit(1)

    found = find_plugins()
    plugins = Plugins(found.sequencers, {**found.selectors, "leaves": leave})
    group = GroupView("default", selector="leaves")
    decided = plan(Snapshot(NOW, (node("a"),), tuple(of(tenant(1), 1)), (), (group,)), plugins)
    assert (list(seats(decided)), len(decided.troubles)) == ([1], 1)


def test_the_thread_of_a_plugin_ends_with_the_pass() -> None:
    found = find_plugins()
    plugins = Plugins({**found.sequencers, "wrong": Wrong("repeats")}, {**found.selectors, "wrong": FailsLater})
    group = GroupView("default", sequencer="wrong", selector="wrong")
    plan(Snapshot(NOW, (node("a"),), tuple(of(tenant(1), 1, 2, 3)), (), (group,)), plugins)
    gc.collect()
    for thread in [thread for thread in threading.enumerate() if thread.name == "plugin-wrong"]:
        thread.join(10)
        assert not thread.is_alive()


def test_a_plugin_that_is_not_there_is_told_of() -> None:
    decided = decide((node("a"),), *of(tenant(1), 1), sequencer="nobody", selector="nothing")
    assert list(seats(decided)) == [1]
    assert {trouble.plugin for trouble in decided.troubles} == {"nobody", "nothing"}
