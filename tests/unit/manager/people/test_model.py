"""Who may act for whom, and from where people may come."""

from dataclasses import replace
from uuid import uuid4

import pytest

from caravan_common.errors import AuthorizationFailedError, ForbiddenError
from caravan_manager.people.model import Actor, Credentials, Principal, UserRole, UserStatus


def _person(role: UserRole, domain: str = "default") -> Principal:
    return Principal(uuid4(), f"{role}@example.com", role, role, domain, f"AK{role}", "default", "default", 1)


USER, ADMIN, SUPERADMIN = map(_person, (UserRole.USER, UserRole.ADMIN, UserRole.SUPERADMIN))


def test_administrators_act_for_others_and_are_remembered() -> None:
    for boss in (ADMIN, SUPERADMIN):
        acting = boss.acting_for(USER)
        assert replace(acting, actor=None) == USER
        assert acting.actor == Actor(boss.user_id, boss.email, boss.access_key, is_superadmin=boss is SUPERADMIN)


def test_everybody_acts_for_themselves() -> None:
    assert USER.acting_for(USER) is USER


@pytest.mark.parametrize(
    ("asks", "owner", "why"),
    [
        (USER, ADMIN, "Only admins"),
        (_person(UserRole.MONITOR), USER, "Only admins"),
        (ADMIN, _person(UserRole.USER, "elsewhere"), "same domain only"),
        (ADMIN, SUPERADMIN, "super-admins"),
    ],
)
def test_nobody_acts_for_those_above_or_elsewhere(asks: Principal, owner: Principal, why: str) -> None:
    with pytest.raises(ForbiddenError, match=why):
        asks.acting_for(owner)


def _credentials(*networks: str, active: bool = True, status: UserStatus = UserStatus.ACTIVE) -> Credentials:
    return Credentials(USER, "", active, status, networks)


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1", "192.0.2.9"])
def test_users_may_come_from_their_networks(address: str) -> None:
    _credentials("10.0.0.0/8", "2001:db8::/32", "192.0.2.9").must_come_from(address)
    _credentials().must_come_from(address)


@pytest.mark.parametrize("address", ["11.1.2.3", "2001:db9::1", "nonsense", None])
def test_users_may_come_from_nowhere_else(address: str | None) -> None:
    with pytest.raises(AuthorizationFailedError):
        _credentials("10.0.0.0/8", "2001:db8::/32", "not a network").must_come_from(address)


@pytest.mark.parametrize(
    "credentials",
    [
        _credentials(active=False),
        *(_credentials(status=status) for status in UserStatus if status is not UserStatus.ACTIVE),
    ],
)
def test_only_active_keypairs_of_active_users_are_usable(credentials: Credentials) -> None:
    assert not credentials.is_usable
    with pytest.raises(AuthorizationFailedError):
        credentials.must_be_usable()
