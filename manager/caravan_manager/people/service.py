"""What a person can ask of people: come in, and look at users, projects, domains and keypairs."""

import time
from uuid import UUID

from caravan_common.errors import AuthorizationFailedError, ForbiddenError, InvalidParametersError
from caravan_manager.db.choice import EVERYTHING, Choice
from caravan_manager.db.engine import Begin
from caravan_manager.people import repository
from caravan_manager.people.model import (
    Credentials,
    Domain,
    Keypair,
    Principal,
    Project,
    ProjectNotFoundError,
    User,
    UserNotFoundError,
)
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.secrets import SecretKeys


class PeopleService:
    """Domains, projects, users and keypairs, as far as the caller may see them."""

    def __init__(self, begin: Begin, secrets: SecretKeys, remembered: RememberedCredentials | None = None) -> None:
        self._begin = begin
        self._secrets = secrets
        self._remembered = remembered or RememberedCredentials(0, time.monotonic)

    async def credentials(self, access_key: str) -> tuple[Credentials, str]:
        """Return who owns an access key, and the secret key. Whether they are active is for the caller to check.

        Raises AuthorizationFailedError when there is no such key.
        """
        found = await self._remembered.get(access_key, self._find_credentials)
        if found is None:
            raise AuthorizationFailedError("Access key not found")
        return found, await self._secrets.reveal(found.secret_ciphertext)

    async def acting_for_owner(self, principal: Principal, access_key: str) -> Principal:
        """Return the owner of an access key, with the caller as the actor.

        Raises InvalidParametersError for an unknown or inactive key, ForbiddenError unless the caller may.
        """
        if access_key == principal.access_key:
            return principal
        found = await self._find_credentials(access_key)
        if found is None or not found.is_usable:
            raise InvalidParametersError("Unknown owner access key")
        return principal.acting_for(found.principal)

    async def acting_as_user(self, principal: Principal, user: UUID) -> Principal:
        """Return a user with the main keypair, with the caller as the actor. Only for superadmins.

        Raises ForbiddenError, or UserNotFoundError when there is no such active user.
        """
        principal.must_be_superadmin()
        async with self._begin() as tx:
            found = await repository.find_credentials_of_user(tx, user)
        if found is None or not found.is_usable:
            raise UserNotFoundError(data=str(user))
        return principal.acting_for(found.principal)

    async def _find_credentials(self, access_key: str) -> Credentials | None:
        async with self._begin() as tx:
            return await repository.find_credentials(tx, access_key)

    async def must_be_member(self, principal: Principal, project: UUID) -> None:
        """Raise ProjectNotFoundError unless the caller belongs to the project."""
        async with self._begin() as tx:
            if not await repository.is_member(tx, principal.user_id, project):
                raise ProjectNotFoundError("No such project or you are not the member of it.")

    async def secret_keys(self, principal: Principal, keypairs: list[Keypair]) -> dict[str, str]:
        """Return secret keys by access key, as far as the caller may know them: all for a superadmin, else one's own.

        A domain's administrator must not get at the key of a superadmin who lives in that domain.
        """
        shown = [k for k in keypairs if principal.is_superadmin or k.user_id == principal.user_id]
        revealed = await self._secrets.reveal_all([keypair.secret_ciphertext for keypair in shown])
        return {keypair.access_key: secret for keypair, secret in zip(shown, revealed, strict=True)}

    async def keypair(self, principal: Principal, access_key: str | None) -> Keypair | None:
        """Return the caller's keypair, or another one that the caller may see."""
        async with self._begin() as tx:
            found = await repository.find_keypair(tx, access_key or principal.access_key)
        if found is not None and not principal.may_see_keypair(found):
            raise ForbiddenError("this keypair belongs to somebody else")
        return found

    async def keypairs(
        self,
        principal: Principal,
        *,
        domain: str | None,
        email: str | None,
        is_active: bool | None,
        limit: int,
        offset: int,
        choice: Choice = EVERYTHING,
    ) -> tuple[list[Keypair], int]:
        """Return a page of keypairs: all for a superadmin, the domain's for an admin, a user's own."""
        if not principal.is_admin:
            email = principal.email
        async with self._begin() as tx:
            return await repository.list_keypairs(
                tx,
                domain=_domain_of(principal, domain),
                email=email,
                is_active=is_active,
                limit=limit,
                offset=offset,
                choice=choice,
            )

    async def user(self, principal: Principal, *, email: str | None, user_id: UUID | None) -> User:
        """Return one user; only administrators see others. Raises UserNotFoundError."""
        async with self._begin() as tx:
            found = await repository.find_user(
                tx, email=email, user_id=user_id if email or user_id else principal.user_id
            )
        if found is None or not _may_see_user(principal, found):
            raise UserNotFoundError(data=email or str(user_id))
        return found

    async def users(
        self,
        principal: Principal,
        *,
        domain: str | None,
        project: UUID | None,
        statuses: list[str] | None,
        limit: int,
        offset: int,
        choice: Choice = EVERYTHING,
    ) -> tuple[list[User], int]:
        """Return a page of users. Raises ForbiddenError for callers who administrate nothing."""
        if not principal.is_admin:
            raise ForbiddenError("only administrators list users")
        async with self._begin() as tx:
            return await repository.list_users(
                tx,
                domain=_domain_of(principal, domain),
                project=project,
                statuses=statuses,
                limit=limit,
                offset=offset,
                choice=choice,
            )

    async def projects(
        self,
        principal: Principal,
        *,
        domain: str | None = None,
        name: str | None = None,
        project: UUID | None = None,
        is_active: bool | None = None,
    ) -> list[Project]:
        """Return the projects that the caller may see: all, the domain's, or those the caller belongs to."""
        member = None if principal.is_admin else principal.user_id
        async with self._begin() as tx:
            return await repository.list_projects(
                tx,
                domain=_domain_of(principal, domain),
                member=member,
                name=name,
                project=project,
                is_active=is_active,
            )

    async def projects_of_users(self, users: list[UUID]) -> dict[UUID, list[Project]]:
        """Return the projects of users that the caller was allowed to see, with one query."""
        async with self._begin() as tx:
            return await repository.list_projects_of_users(tx, users)

    async def domains(
        self, principal: Principal, *, name: str | None = None, is_active: bool | None = None
    ) -> list[Domain]:
        """Return domains: all for a superadmin, for others only their own."""
        if not principal.is_superadmin:
            name = principal.domain_name
        async with self._begin() as tx:
            return await repository.list_domains(tx, name=name, is_active=is_active)


def _domain_of(principal: Principal, wanted: str | None) -> str | None:
    return wanted if principal.is_superadmin else principal.domain_name


def _may_see_user(principal: Principal, user: User) -> bool:
    if principal.is_superadmin or user.id == principal.user_id:
        return True
    return principal.is_admin and user.domain_name == principal.domain_name
