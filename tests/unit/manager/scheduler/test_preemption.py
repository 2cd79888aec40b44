"""Preemption: off unless a scaling group says otherwise, and never more than is needed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import NOW, decide, gpus, node, seats, session, slots, started, tenant

from caravan_common.states import SessionType
from caravan_manager.scheduler.snapshot import Plan, PreemptionMode, PreemptionOrder, PreemptionRules, VictimScope
from caravan_manager.sessions.queue import PendingSession, PlacedSession

ANYBODY = PreemptionRules(scope=VictimScope.ANY)
NODES = (node("a", 4, 64), node("b", 4, 64))


def runs(number: int, on: str = "a", cpu: float = 4, minutes: float = 10, **rest: Any) -> PlacedSession:
    asked = session(number, slots(cpu, 1), nodes=frozenset({on}), **{"priority": 1, "tenant": tenant(number)} | rest)
    (placement,) = decide(NODES, asked).placements
    return started(placement, asked, NOW - timedelta(minutes=minutes))


def ended_for(wanted: PendingSession, *placed: PlacedSession, rules: PreemptionRules | None = ANYBODY) -> list[int]:
    decided = decide(NODES, wanted, placed=placed, preemption=rules)
    assert all(one.session == wanted.id for one in decided.preemptions)
    return sorted(one.victim.int for one in decided.preemptions)


URGENT = session(1, slots(4, 1), tenant=tenant(1))


def test_nobody_is_ended_unless_the_scaling_group_says_so() -> None:
    assert ended_for(URGENT, runs(8), runs(9, "b"), rules=None) == []


def test_the_one_that_loses_the_least_work_is_ended() -> None:
    assert ended_for(URGENT, runs(8, minutes=60), runs(9, "b", minutes=10)) == [9]


def test_nobody_is_ended_where_there_is_room_or_where_it_would_not_help() -> None:
    assert ended_for(URGENT, runs(8)) == []
    kept = runs(8, priority=10), runs(9, "b", cpu=3, priority=10), runs(7, "b", cpu=1)
    assert ended_for(URGENT, *kept) == []


def test_only_as_many_are_ended_as_are_needed() -> None:
    small = [runs(number, cpu=1, minutes=number) for number in (11, 12, 13, 14)]
    assert ended_for(session(1, slots(2, 1)), *small, runs(9, "b", priority=10)) == [11, 12]


def test_those_that_end_already_are_waited_for() -> None:
    ending = replace(runs(8), is_ending=True)
    assert ended_for(URGENT, ending, runs(9, "b")) == []


def test_the_room_is_kept_for_the_one_that_others_are_ended_for() -> None:
    later = session(2, slots(1, 1))
    decided = decide(NODES, URGENT, later, placed=(runs(8), runs(9, "b", priority=10)), preemption=ANYBODY)
    assert [one.victim.int for one in decided.preemptions] == [8]
    assert decided.reserved[0].nodes == ("a",)
    assert seats(decided) == {}


def test_the_room_is_there_when_the_one_that_is_ended_has_no_time_left_and_short_ones_pass_meanwhile() -> None:
    rules = replace(ANYBODY, grace=timedelta(minutes=20))
    placed = runs(8, cpu=3), runs(9, "b", priority=10)
    decided = decide(NODES, URGENT, session(2, slots(1, 1), minutes=5), placed=placed, preemption=rules)
    assert [(one.victim.int, one.grace) for one in decided.preemptions] == [(8, timedelta(minutes=20))]
    assert decided.reserved[0].starts_at == NOW + timedelta(minutes=20)
    assert list(seats(decided)) == [2]
    told = replace(placed[0], is_ending=True, ends_at=NOW + timedelta(minutes=20))
    decided = decide(NODES, URGENT, placed=(told, placed[1]), preemption=rules, at=NOW + timedelta(minutes=1))
    assert (decided.preemptions, decided.reserved[0].starts_at) == ((), NOW + timedelta(minutes=20))


@pytest.mark.parametrize(
    ("safe", "rules"),
    [
        ({"priority": 6}, ANYBODY),
        ({"priority": 1, "type": SessionType.SYSTEM}, ANYBODY),
        ({"minutes": 4}, replace(ANYBODY, min_runtime=timedelta(minutes=5))),
        ({}, replace(ANYBODY, scope=VictimScope.USER)),
        ({"tenant": replace(tenant(8), domain="other")}, replace(ANYBODY, scope=VictimScope.DOMAIN)),
    ],
)
def test_some_are_never_ended(safe: dict[str, Any], rules: PreemptionRules) -> None:
    assert ended_for(URGENT, runs(8, **safe), runs(9, "b", priority=10), rules=rules) == []


@pytest.mark.parametrize(
    ("order", "victim"),
    [(PreemptionOrder.OLDEST, 8), (PreemptionOrder.NEWEST, 9), (PreemptionOrder.LEAST_WORK, 9)],
)
def test_the_order_is_the_scaling_groups(order: PreemptionOrder, victim: int) -> None:
    placed = runs(8, minutes=60), runs(9, "b", minutes=10)
    assert ended_for(URGENT, *placed, rules=replace(ANYBODY, order=order)) == [victim]


def test_of_the_users_the_one_with_the_fewest_sessions_loses_one() -> None:
    many = [runs(number, cpu=1, minutes=1, tenant=tenant(8)) for number in (11, 12, 13, 14)]
    rare = runs(9, "b", minutes=600, tenant=tenant(9))
    rules = replace(ANYBODY, order=PreemptionOrder.FEWEST_SESSIONS)
    assert ended_for(URGENT, *many, rare, rules=rules) == [9]
    assert ended_for(URGENT, *many, rare) == [11, 12, 13, 14], "they lose less work"


def test_sessions_that_are_safe_do_not_count_among_those_of_their_user() -> None:
    rules = replace(ANYBODY, order=PreemptionOrder.FEWEST_SESSIONS)
    of_one = runs(11, cpu=2, tenant=tenant(8)), runs(12, cpu=2, priority=10, tenant=tenant(8))
    of_other = runs(13, "b", cpu=2, tenant=tenant(9)), runs(14, "b", cpu=2, tenant=tenant(9))
    assert ended_for(session(1, slots(2, 1)), *of_one, *of_other, rules=rules) == [11]


def test_the_session_that_has_least_is_ended_however_long_it_ran() -> None:
    rules = replace(ANYBODY, order=PreemptionOrder.SMALLEST_RESOURCES)
    large, small = runs(8, minutes=1), runs(9, "b", cpu=3, minutes=600)
    wanted = session(1, slots(3, 1))
    assert ended_for(wanted, large, small, rules=rules) == [9]
    assert ended_for(wanted, large, small) == [8], "it loses less work"


def test_several_small_sessions_that_have_more_than_one_together_are_not_preferred_to_it() -> None:
    rules = replace(ANYBODY, order=PreemptionOrder.SMALLEST_RESOURCES)
    two = runs(11, cpu=2, minutes=1), runs(12, cpu=2, minutes=1)
    assert ended_for(session(1, slots(3, 1)), *two, runs(9, "b", cpu=3), rules=rules) == [9]


def test_of_one_project_only_its_sessions_are_ended() -> None:
    rules = replace(ANYBODY, scope=VictimScope.PROJECT)
    colleague = runs(8, minutes=60)
    stranger = runs(9, "b", minutes=1, tenant=replace(tenant(9), project=UUID(int=5)))
    assert ended_for(URGENT, colleague, stranger, rules=rules) == [8]
    assert ended_for(URGENT, replace(colleague, priority=10), stranger, rules=rules) == []
    assert ended_for(URGENT, colleague, stranger) == [9]


def test_a_gang_has_all_its_members_made_room_for() -> None:
    gang = session(1, slots(3, 1), slots(3, 1))
    assert ended_for(gang, runs(8), runs(9, "b")) == [8, 9]


def test_two_small_losses_that_are_more_than_one_are_not_preferred_to_it() -> None:
    two = runs(11, cpu=2, minutes=20), runs(12, cpu=2, minutes=20)
    assert ended_for(URGENT, *two, runs(9, "b", minutes=15)) == [9]
    assert ended_for(URGENT, *two, runs(9, "b", minutes=25)) == [11, 12]


def test_hundreds_of_cheap_sessions_where_they_do_not_help_hide_none_that_would() -> None:
    nodes = (node("cheap", 400, 640), node("b", 4, 64, *gpus(1)))
    cheap = [session(1000 + i, slots(1, 1), nodes=frozenset({"cheap"}), priority=0) for i in range(400)]
    dear = session(9, slots(1, 1, cuda_shares=1), priority=5)
    by_id = {one.id: one for one in (*cheap, dear)}
    placed = tuple(started(p, by_id[p.session]) for p in decide(nodes, *cheap, dear).placements)
    decided = decide(nodes, session(1, slots(1, 1, cuda_shares=1)), placed=placed, preemption=ANYBODY)
    assert [one.victim.int for one in decided.preemptions] == [9]


def test_one_between_two_containers_is_not_ended() -> None:
    assert ended_for(URGENT, replace(runs(8), is_unsettled=True), runs(9, "b", priority=10)) == []


@pytest.mark.parametrize("sequencer", ["fifo", "drf"])
def test_one_for_which_others_were_ended_goes_before_others_of_its_priority(sequencer: str) -> None:
    other = session(2, slots(4, 1), tenant=tenant(2))
    wanted = replace(session(3, slots(4, 1), tenant=tenant(3)), first_until=NOW + timedelta(seconds=1))
    placed = (runs(9, "b", tenant=tenant(3)),)
    assert list(seats(decide(NODES, other, wanted, placed=placed, sequencer=sequencer))) == [3]
    late = replace(wanted, first_until=NOW)
    assert list(seats(decide(NODES, other, late, placed=placed, sequencer=sequencer))) == [2]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 10), st.integers(0, 12), st.booleans()), max_size=8),
    st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=2),
)
def test_when_the_victims_are_gone_the_session_starts_and_without_one_of_them_it_would_not(
    wishes: list[tuple[int, int, int, bool]], ranks: list[int]
) -> None:
    nodes = (node("a", 16, 64, *gpus(3)), node("b", 16, 64, *(replace(d, id=f"B{d.id}") for d in gpus(3))))
    asked = [
        session(10 + i, slots(1, 1, cuda_shares=whole + tenths / 10), priority=priority, tenant=tenant(i))
        for i, (whole, tenths, priority, _) in enumerate(wishes)
    ]
    by_id = {one.id: one for one in asked}
    placed = tuple(
        started(placement, by_id[placement.session], NOW - timedelta(minutes=placement.session.int))
        for placement in decide(nodes, *asked).placements
    )
    wanted = session(1, *[slots(1, 1, cuda_shares=count) for count in ranks])

    def decided(gone: set[int]) -> Plan:
        left = tuple(one for one in placed if one.id.int not in gone)
        return decide(nodes, wanted, placed=left, preemption=ANYBODY)

    first = decided(set())
    victims = {one.victim.int for one in first.preemptions}
    assert all(by_id[one.victim].priority <= 5 and one.mode is PreemptionMode.TERMINATE for one in first.preemptions)
    if victims:
        assert 1 in seats(decided(victims))
        assert all(1 not in seats(decided(victims - {spared})) for spared in victims)
