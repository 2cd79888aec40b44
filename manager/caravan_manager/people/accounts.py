"""What a person does with their own account: log in by password, change it, rename and end the account."""

from collections.abc import Callable
from datetime import datetime, timedelta

from caravan_common.errors import AuthorizationFailedError, BadRequestError, ForbiddenError
from caravan_manager import audit
from caravan_manager.db.engine import Begin
from caravan_manager.people import repository
from caravan_manager.people.model import Login, Principal, UserStatus
from caravan_manager.people.passwords import hash_password, password_matches
from caravan_manager.people.remembered import RememberedCredentials
from caravan_manager.people.secrets import SecretKeys
from caravan_manager.people.throttle import LoginThrottle


class AccountsService:
    """Passwords and the accounts that they open. Every check of a password is throttled."""

    def __init__(
        self,
        begin: Begin,
        secrets: SecretKeys,
        throttle: LoginThrottle,
        clock: Callable[[], datetime],
        max_password_age: timedelta | None = None,
        remembered: RememberedCredentials | None = None,
    ) -> None:
        self._begin = begin
        self._secrets = secrets
        self._throttle = throttle
        self._clock = clock
        self._max_password_age = max_password_age
        self._remembered = remembered

    async def log_in(self, domain: str, username: str, password: str, address: str | None) -> tuple[Principal, str]:
        """Return the user and the secret key of the user's main keypair.

        Raises AuthorizationFailedError, PasswordExpiredError, or TooManyRequestsError after too many failures.
        """
        found = await self._verified(domain, username, password, address)
        found.must_be_fresh(self._max_password_age, self._clock())
        return found.credentials.principal, await self._secrets.reveal(found.credentials.secret_ciphertext)

    async def _verified(self, domain: str, username: str, password: str, address: str | None) -> Login:
        await self._throttle.attempt(domain, username, address)
        async with self._begin() as tx:
            found = await repository.find_login(tx, domain, username)
        if not await password_matches(password, None if found is None else found.password_hash) or found is None:
            raise AuthorizationFailedError("User credential mismatch.")
        await self._throttle.succeeded(domain, username, address)
        if found.credentials.user_status is not UserStatus.BEFORE_VERIFICATION and not found.credentials.is_usable:
            raise AuthorizationFailedError("User credential mismatch.")
        found.credentials.must_be_usable()
        found.credentials.must_come_from(address)
        return found

    async def change_password(self, principal: Principal, old: str, new: str, address: str | None) -> None:
        """Give the caller another password. Raises AuthorizationFailedError unless ``old`` is the one of now."""
        try:
            await self._verified(principal.domain_name, principal.email, old, address)
        except AuthorizationFailedError as err:
            raise AuthorizationFailedError("Old password mismatch") from err
        await self._set_password(principal, new)

    async def renew_password(self, domain: str, username: str, current: str, new: str, address: str | None) -> datetime:
        """Replace a password that may have expired, without a signature. Returns when it was changed.

        Raises BadRequestError where passwords do not expire, AuthorizationFailedError for a wrong or repeated one.
        """
        if self._max_password_age is None:
            raise BadRequestError("Unsupported function.")
        found = await self._verified(domain, username, current, address)
        if await password_matches(new, found.password_hash):
            raise AuthorizationFailedError("Cannot update to the same password as an existing password.")
        return await self._set_password(found.credentials.principal, new)

    async def _set_password(self, principal: Principal, new: str) -> datetime:
        hashed = await hash_password(new)
        async with self._begin() as tx:
            changed_at = await repository.set_password_hash(tx, principal.user_id, hashed)
            await audit.record(tx, principal, "user.change_password", "user", str(principal.user_id), {})
        return changed_at

    async def sign_out(self, principal: Principal, email: str, password: str, address: str | None) -> None:
        """End the caller's account: user and keypairs become inactive. Raises ForbiddenError or BadRequestError."""
        if email != principal.email:
            raise ForbiddenError("Not the account owner")
        try:
            await self._verified(principal.domain_name, email, password, address)
        except AuthorizationFailedError as err:
            raise BadRequestError("Invalid email and/or password") from err
        async with self._begin() as tx:
            await repository.deactivate(tx, principal.user_id)
            await audit.record(tx, principal, "user.sign_out", "user", str(principal.user_id), {})
        if self._remembered is not None:
            self._remembered.forget_all()

    async def change_full_name(self, principal: Principal, full_name: str) -> None:
        """Give the caller another name."""
        async with self._begin() as tx:
            await repository.set_full_name(tx, principal.user_id, full_name)
            await audit.record(tx, principal, "user.change_full_name", "user", str(principal.user_id), {})
