"""Names of scaling groups and of those to whom they are open: what can be none never comes to the database."""

from uuid import UUID

import pytest

from caravan_common.errors import InvalidParametersError
from caravan_manager.nodes.groups import check_group_names, check_guest, check_known_node
from caravan_manager.nodes.model import Guest, GuestKind


@pytest.mark.parametrize("name", ["g" * 65, "g\0", "\ud800"])
def test_names_that_nothing_can_have_are_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError, match="cannot be the name of a scaling group"):
        check_group_names(["default", name])
    with pytest.raises(InvalidParametersError, match="cannot be the ID of an agent"):
        check_known_node(name)
    with pytest.raises(InvalidParametersError, match="cannot be the name of a domain"):
        check_guest(Guest(GuestKind.DOMAIN, name))
    with pytest.raises(InvalidParametersError, match="cannot be an access key"):
        check_guest(Guest(GuestKind.KEYPAIR, name))


def test_names_of_the_full_length_may_be_there() -> None:
    assert check_group_names(["g" * 64]) == ["g" * 64]
    for guest in (
        Guest(GuestKind.DOMAIN, "d" * 64),
        Guest(GuestKind.KEYPAIR, "A" * 20),
        Guest(GuestKind.PROJECT, UUID(int=1)),
    ):
        assert check_guest(guest) == guest
