"""Sessions of one endpoint are spread over the nodes where the scaling group says so: a wish; nobody waits for it."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import (
    NOW,
    decide,
    gpus,
    node,
    seats,
    session,
    slots,
    started,
    tenant,
    waits,
)

from caravan_common.states import ClusterMode
from caravan_manager.scheduler import together
from caravan_manager.scheduler.codec import decode, encode
from caravan_manager.scheduler.decisions.packed import PackedPass
from caravan_manager.scheduler.decisions.replay import replay
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import Plugins, find_plugins
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    Obstacle,
    Plan,
    PreemptionRules,
    Snapshot,
    VictimScope,
)
from caravan_manager.sessions.queue import PendingSession, PlacedSession

CHAT, SEARCH = UUID(int=71), UUID(int=72)
THREE = (node("a", 64), node("b", 64), node("c", 64))
SELECTORS = ["packed", "concentrated", "dispersed", "roundrobin"]


def replica(number: int, endpoint: UUID | None = CHAT, cpu: float = 1, **rest: Any) -> PendingSession:
    return session(number, slots(cpu, 1), endpoint=endpoint, **rest)


def replicas(*numbers: int, endpoint: UUID | None = CHAT, cpu: float = 1) -> list[PendingSession]:
    return [replica(number, endpoint, cpu) for number in numbers]


def spread(nodes: tuple[NodeView, ...], *pending: PendingSession, **rest: Any) -> Plan:
    return decide(nodes, *pending, **{"spread_replicas": True} | rest)


def held(*asked: PendingSession, nodes: tuple[NodeView, ...] = THREE) -> tuple[PlacedSession, ...]:
    """The sessions as they hold the nodes that they designate."""
    by_id = {one.id: one for one in asked}
    return tuple(started(placement, by_id[placement.session]) for placement in decide(nodes, *asked).placements)


def on(name: str, asked: PendingSession) -> PendingSession:
    return replace(asked, nodes=frozenset({name}))


def where(decided: Plan) -> dict[int, str]:
    return {number: placed[0][0] for number, placed in seats(decided).items()}


def load(decided: Plan) -> list[int]:
    return sorted(Counter(where(decided).values()).values())


@pytest.mark.parametrize("selector", SELECTORS)
def test_three_replicas_are_spread_over_three_nodes(selector: str) -> None:
    assert load(spread(THREE, *replicas(1, 2, 3), selector=selector)) == [1, 1, 1]


@pytest.mark.parametrize("selector", SELECTORS)
def test_more_replicas_than_nodes_are_spread_evenly(selector: str) -> None:
    assert load(spread(THREE, *replicas(*range(1, 9)), selector=selector)) == [2, 3, 3]


def test_it_is_off_by_default_and_then_an_endpoint_changes_nothing() -> None:
    bound = decide(THREE, *replicas(1, 2, 3))
    assert load(bound) == [3]
    assert bound == decide(THREE, *replicas(1, 2, 3, endpoint=None))


def test_sessions_without_an_endpoint_are_placed_as_ever() -> None:
    plain = replicas(1, 2, 3, endpoint=None)
    assert spread(THREE, *plain) == decide(THREE, *plain)


def test_replicas_that_run_already_count() -> None:
    placed = held(on("a", replica(8)), on("c", replica(9)))
    assert where(spread(THREE, *replicas(1, 2, 3, 4), placed=placed))[1] == "b"
    assert sorted(where(spread(THREE, *replicas(1, 2, 3, 4), placed=placed)).values()) == ["a", "b", "b", "c"]


def test_another_endpoint_does_not_count() -> None:
    placed = held(on("a", replica(8, SEARCH)), on("a", replica(9, None)))
    assert where(decide(THREE, replica(1), placed=placed)) == {1: "a"}, "the fullest"
    assert where(spread(THREE, replica(1), placed=placed)) == {1: "a"}
    both = spread(THREE, *replicas(1, 2, 3), *replicas(4, 5, 6, endpoint=SEARCH))
    for numbers in ({1, 2, 3}, {4, 5, 6}):
        assert {name for number, name in where(both).items() if number in numbers} == {"a", "b", "c"}


def test_where_only_one_node_has_room_all_of_them_go_there() -> None:
    nodes = (node("a", 4), node("b", 64))
    placed = held(on("a", session(9, slots(4, 1))), on("b", replica(8)), nodes=nodes)
    assert where(spread(nodes, *replicas(1, 2, 3), placed=placed)) == {1: "b", 2: "b", 3: "b"}


def test_of_the_nodes_with_room_those_with_the_next_fewest_are_taken() -> None:
    nodes = (node("a", 4), node("b", 64), node("c", 64))
    placed = held(
        on("a", session(9, slots(4, 1))), on("b", replica(6)), on("b", replica(7)), on("c", replica(8)), nodes=nodes
    )
    assert where(spread(nodes, replica(1), placed=placed)) == {1: "c"}


def test_of_equals_the_selector_takes_the_best() -> None:
    nodes = (node("a", 64), node("b", 8), node("c", 16))
    assert where(spread(nodes, *replicas(1, 2, 3))) == {1: "b", 2: "c", 3: "a"}


def test_the_designated_node_is_taken_however_many_replicas_it_has() -> None:
    placed = held(on("a", replica(8)), on("a", replica(9)))
    assert where(spread(THREE, on("a", replica(1)), replica(2), placed=placed))[1] == "a"


def test_nodes_that_would_not_do_are_not_waited_for() -> None:
    nodes = (node("a", 64, 256, *gpus(4)), node("b", 64), node("c", 64))
    asked = [session(number, slots(1, 1, cuda_shares=1), endpoint=CHAT) for number in (1, 2)]
    assert where(spread(nodes, *asked)) == {1: "a", 2: "a"}


def test_what_is_given_back_is_scored_anew() -> None:
    """Between two of an endpoint others come: what the finder remembers of a shape of session stays right."""
    nodes = (node("a", 2), node("b", 2))
    mixed = [replica(1), replica(2, None), replica(3), replica(4, None)]
    assert where(spread(nodes, *mixed)) == {1: "a", 2: "a", 3: "b", 4: "b"}


def test_a_gang_counts_once_on_each_of_its_nodes_and_is_put_where_there_are_fewest() -> None:
    gang = session(1, slots(1, 1), slots(1, 1), endpoint=CHAT)
    placed = held(on("a", replica(8)))
    decided = spread(THREE, gang, replica(2), placed=placed)
    assert [name for name, _ in seats(decided)[1]] == ["b", "b"], "one session, so its kernels may be together"
    assert where(decided)[2] == "c"


@pytest.mark.parametrize("tries", [0, together.MOST_TRIES])
def test_no_gang_waits_because_of_what_is_wished(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST_TRIES", tries)
    nodes = (node("a", 4, 4), node("b", 4, 16))
    placed = held(on("a", replica(9)), nodes=nodes)
    gang = session(1, slots(3, 1), slots(2, 8), endpoint=CHAT)  # only together: where there are fewest is one node
    assert [name for name, _ in seats(spread(nodes, gang, placed=placed))[1]] == ["a", "b"]


def test_a_single_node_session_is_spread_as_a_whole() -> None:
    placed = held(on("a", replica(9)))
    asked = session(1, slots(1, 1), slots(1, 1), endpoint=CHAT, cluster_mode=ClusterMode.SINGLE_NODE)
    assert [name for name, _ in seats(spread(THREE, asked, placed=placed))[1]] == ["b", "b"]


def test_a_node_that_is_kept_for_others_is_used_only_by_who_ends_in_time() -> None:
    nodes = (node("a", 4), node("b", 8))
    busy = held(on("a", session(9, slots(2, 1), minutes=60)), on("b", replica(8)), nodes=nodes)
    head = on("a", session(1, slots(4, 1)))
    endless, short = replica(2), replica(3, minutes=10)
    assert where(spread(nodes, head, endless, placed=busy)) == {2: "b"}, "the other one is kept"
    assert where(spread(nodes, head, short, placed=busy)) == {3: "a"}, "it is over before"


def test_of_the_nodes_that_are_kept_for_others_those_with_more_replicas_come_after_open_ones_with_fewer() -> None:
    nodes = (node("a", 4), node("b", 1), node("c", 8))
    busy = held(
        on("a", session(9, slots(1, 1), minutes=60)),
        *[on("a", replica(number, minutes=60)) for number in (6, 7)],
        on("b", session(5, slots(1, 1))),
        on("c", replica(8)),
        nodes=nodes,
    )
    head = on("a", session(1, slots(4, 1)))
    assert where(spread(nodes, head, replica(3, minutes=10), placed=busy)) == {3: "c"}


def test_room_is_kept_for_a_replica_that_waits_as_for_others() -> None:
    nodes = (node("a", 4), node("b", 4))
    busy = held(on("a", session(8, slots(4, 1), minutes=10)), on("b", session(9, slots(4, 1), minutes=60)), nodes=nodes)
    decided = spread(nodes, replica(1, cpu=4), placed=busy)
    assert (waits(decided)[1].obstacle, decided.reserved[0].nodes) == (Obstacle.NO_ROOM, ("a",))


def test_nobody_is_ended_for_the_sake_of_it() -> None:
    rules = PreemptionRules(scope=VictimScope.ANY)
    nodes = (node("a", 4), node("b", 8))
    placed = held(on("a", session(9, slots(4, 1), priority=1, tenant=tenant(9))), on("b", replica(8)), nodes=nodes)
    decided = spread(nodes, replica(1), placed=placed, preemption=rules)
    assert (where(decided), decided.preemptions) == ({1: "b"}, ())


class ByName:
    """A selector of somebody else's: the last by name, whoever asks."""

    def __init__(self, room: object) -> None:
        pass

    def scores(self, demand: object, rows: Any, beside: object) -> Any:
        return -rows.astype(float)

    def ties(self, demand: object, rows: Any) -> Any:
        return rows * 0.0


def test_a_selector_of_another_package_chooses_among_those_with_the_fewest() -> None:
    found = find_plugins()
    plugins = Plugins(found.sequencers, {**found.selectors, "by-name": ByName})
    group = GroupView("default", selector="by-name", spread_replicas=True)
    decided = plan(Snapshot(NOW, THREE, tuple(replicas(1, 2, 3, 4)), (), (group,)), plugins)
    assert (where(decided), decided.troubles) == ({1: "c", 2: "b", 3: "a", 4: "c"}, ())


def test_a_kept_pass_is_planned_again_alike() -> None:
    group = GroupView("default", spread_replicas=True)
    snapshot = Snapshot(NOW, THREE, tuple(replicas(1, 2, 3, 4)), held(on("a", replica(9))), (group,))
    kept = PackedPass.of(snapshot, plan(snapshot, find_plugins()))
    assert kept.unpack_snapshot() == snapshot
    assert replay(kept, find_plugins()).difference is None


def test_a_pass_that_was_kept_before_there_were_endpoints_is_still_read() -> None:
    snapshot = Snapshot(NOW, THREE, (replica(1, None),), held(on("a", replica(9, None))), (GroupView("default"),))
    written = orjson.loads(encode(snapshot))
    for value in (*written["pending"], *written["placed"]):
        del value["endpoint"]
    del written["groups"][0]["spread_replicas"]
    assert decode(Snapshot, orjson.dumps(written)) == snapshot


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from([CHAT, SEARCH, None]), st.integers(1, 3)), max_size=16),
)
def test_each_goes_to_a_node_with_the_fewest_of_those_with_room_and_nobody_waits_who_would_not(
    machines: list[int], wishes: list[tuple[UUID | None, int]]
) -> None:
    nodes = tuple(node(f"n{i}", cpu) for i, cpu in enumerate(machines))
    free = {one.name: float(one.capacity["cpu"]) for one in nodes}
    have: Counter[tuple[UUID, str]] = Counter()
    placed: tuple[PlacedSession, ...] = ()
    for number, (endpoint, cpu) in enumerate(wishes):
        asked = replica(number + 1, endpoint, cpu)
        decided = spread(nodes, asked, placed=placed)
        assert seats(decided).keys() == seats(decide(nodes, asked, placed=placed)).keys()
        if not decided.placements:
            continue
        name = where(decided)[number + 1]
        if endpoint is not None:
            assert have[endpoint, name] == min(have[endpoint, other] for other, left in free.items() if left >= cpu)
            have[endpoint, name] += 1
        free[name] -= cpu
        placed += (started(decided.placements[0], asked, NOW + timedelta(seconds=number)),)
