"""What tenants had lately: what was read, and what was seen since."""

from datetime import timedelta

import pytest
from tests.unit.manager.scheduler.made import NOW, session, slots, tenant

from caravan_manager.scheduler.past import Account, past_of
from caravan_manager.sessions.model import Seat
from caravan_manager.sessions.queue import PastUse, PlacedSession

CAPACITY = {"cpu": 10.0, "cuda.shares": 4.0}


def runs(number: int, user: int, since: float, cpu: float = 5, gpu: float = 0) -> PlacedSession:
    asked = session(number, slots(cpu, 1, cuda_shares=gpu), tenant=tenant(user))
    return asked.placed([(asked.kernels[0].id, Seat("n1"))], NOW + timedelta(seconds=since))


def shares(account: Account) -> dict[int, float]:
    return {user.int: had for user, had in past_of(account.all_uses(), CAPACITY).of_users.items()}


def test_who_was_seen_since_had_his_share_for_as_long() -> None:
    one = tenant(1)
    account = Account(NOW, [PastUse(one.user, one.project, one.domain, "cpu", 100.0)])
    account.look([runs(1, 1, since=-3600)], NOW + timedelta(seconds=4))
    account.look([runs(1, 1, since=-3600), runs(2, 2, since=6, gpu=4)], NOW + timedelta(seconds=10))
    account.look([runs(2, 2, since=6, gpu=4)], NOW + timedelta(seconds=20))
    assert shares(account) == {1: pytest.approx(100 / 10 + 5 * 10 / 10), 2: pytest.approx(14.0)}


def test_one_that_is_placed_by_a_clock_ahead_had_nothing_yet() -> None:
    account = Account(NOW, [])
    account.look([runs(1, 1, since=30)], NOW)
    assert shares(account) == {1: 0.0}


def test_a_project_has_the_sum_of_its_users_of_one_slot() -> None:
    account = Account(NOW, [])
    both = [runs(1, 1, since=0, cpu=2, gpu=1), runs(2, 2, since=0, cpu=2, gpu=1)]
    account.look(both, NOW + timedelta(seconds=10))
    past = past_of(account.all_uses(), CAPACITY)
    assert list(past.of_projects.values()) == [pytest.approx(5.0)]
    assert past.of_domains == {"default": pytest.approx(5.0)}
