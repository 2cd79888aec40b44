"""Credentials are remembered for a moment, and never longer."""

from uuid import uuid4

from caravan_manager.people.model import Credentials, Principal, UserRole, UserStatus
from caravan_manager.people.remembered import RememberedCredentials


class Keypairs:
    """A table of one keypair, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looked = 0
        self.row: Credentials | None = Credentials(
            principal=Principal(
                user_id=uuid4(),
                email="user@example.com",
                username="user",
                role=UserRole.USER,
                domain_name="default",
                access_key="AKIA",
                resource_policy="default",
                user_resource_policy="default",
                rate_limit=100,
            ),
            secret_ciphertext="vault:v1:",
            keypair_is_active=True,
            user_status=UserStatus.ACTIVE,
        )

    async def load(self, _: str) -> Credentials | None:
        self.looked += 1
        return self.row


async def test_a_burst_of_requests_looks_once() -> None:
    keypairs = Keypairs()
    remembered = RememberedCredentials(2.0, lambda: keypairs.now)
    assert [await remembered.get("AKIA", keypairs.load) for _ in range(3)] == [keypairs.row] * 3
    assert keypairs.looked == 1


async def test_a_keypair_that_is_gone_is_refused_when_the_lifetime_is_over() -> None:
    keypairs = Keypairs()
    remembered = RememberedCredentials(2.0, lambda: keypairs.now)
    await remembered.get("AKIA", keypairs.load)
    keypairs.row = None
    keypairs.now = 1.9
    assert await remembered.get("AKIA", keypairs.load) is not None
    keypairs.now = 2.0
    assert await remembered.get("AKIA", keypairs.load) is None


async def test_an_unknown_access_key_is_not_remembered_and_no_lifetime_remembers_nothing() -> None:
    keypairs = Keypairs()
    keypairs.row = None
    remembered = RememberedCredentials(2.0, lambda: keypairs.now)
    await remembered.get("AKIA", keypairs.load)
    await remembered.get("AKIA", keypairs.load)
    keypairs = Keypairs()
    forgetful = RememberedCredentials(0, lambda: keypairs.now)
    await forgetful.get("AKIA", keypairs.load)
    await forgetful.get("AKIA", keypairs.load)
    assert keypairs.looked == 2


async def test_what_was_forgotten_is_looked_up_again_even_if_it_was_being_loaded() -> None:
    keypairs = Keypairs()
    remembered = RememberedCredentials(2.0, lambda: keypairs.now)

    async def load(access_key: str) -> Credentials | None:
        found = await keypairs.load(access_key)
        remembered.forget_all()
        return found

    await remembered.get("AKIA", load)
    await remembered.get("AKIA", keypairs.load)
    remembered.forget_all()
    await remembered.get("AKIA", keypairs.load)
    assert keypairs.looked == 3
