"""Who asks: users, their keypairs and roles, as values. No I/O."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from uuid import UUID

from caravan_common.errors import AuthorizationFailedError, CaravanError, ForbiddenError, NotFoundError


class UserRole(StrEnum):
    """What a user may do, from least to most."""

    MONITOR = "monitor"
    USER = "user"
    ADMIN = "admin"
    SUPERADMIN = "superadmin"

    @property
    def is_admin(self) -> bool:
        """Whether who has it administrates at least a domain."""
        return self in {UserRole.SUPERADMIN, UserRole.ADMIN}


class UserStatus(StrEnum):
    """Whether a user may come in."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"
    BEFORE_VERIFICATION = "before-verification"


class UserNotFoundError(NotFoundError):
    """No user has this email address or ID."""

    object_name = "user"


class PasswordExpiredError(AuthorizationFailedError):
    """The password is right, and older than passwords may be."""

    slug = "password-expired"
    title = "Password has expired."
    code = "user_auth_password-expired"


class ProjectNotFoundError(NotFoundError):
    """No active project of the domain that the caller belongs to has this name or ID."""

    object_name = "project"


class DomainNotFoundError(NotFoundError):
    """There is no domain of this name."""

    object_name = "domain"


class SuperadminsOnlyError(CaravanError):
    """The caller may change the thing, and not this property of it."""

    status = 403
    slug = ForbiddenError.slug
    title = ForbiddenError.title
    code = ForbiddenError.code


class KeypairNotFoundError(NotFoundError):
    """There is no keypair with this access key."""

    object_name = "keypair"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who really asks, where a request acts for somebody else."""

    user_id: UUID
    email: str
    access_key: str
    is_superadmin: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """For whom a request acts: a user with one of the user's keypairs. Mostly the one who signed it."""

    user_id: UUID
    email: str
    username: str
    role: UserRole
    domain_name: str
    access_key: str
    resource_policy: str
    user_resource_policy: str
    rate_limit: int
    actor: Actor | None = None
    """The administrator who signed, where the request acts for this user."""

    @property
    def is_superadmin(self) -> bool:
        """Whether the caller administrates the whole system."""
        return self.role is UserRole.SUPERADMIN

    @property
    def is_admin(self) -> bool:
        """Whether the caller administrates at least a domain."""
        return self.role.is_admin

    @property
    def is_asked_for_by_superadmin(self) -> bool:
        """Whether who really asks administrates the whole system."""
        return self.is_superadmin if self.actor is None else self.actor.is_superadmin

    @property
    def is_asked_for_by_admin(self) -> bool:
        """Whether who really asks administrates at least a domain; only such may act for others."""
        return self.is_admin or self.actor is not None

    def may_see_keypair(self, owner: "Keypair") -> bool:
        """Whether the caller may look at another user's things: all, the domain's, or only the caller's own."""
        if self.is_superadmin or owner.user_id == self.user_id:
            return True
        return self.role is UserRole.ADMIN and owner.domain_name == self.domain_name

    def must_be_superadmin(self) -> None:
        """Raise ForbiddenError unless the caller administrates the whole system."""
        if not self.is_superadmin:
            raise ForbiddenError("superadmin privilege required")

    def acting_for(self, owner: "Principal") -> "Principal":
        """Return the owner with this principal as the actor. Raises ForbiddenError unless this one may act for them."""
        if owner.access_key == self.access_key:
            return self
        if not self.is_admin:
            raise ForbiddenError("Only admins can perform operations on behalf of other users.")
        if not self.is_superadmin and owner.domain_name != self.domain_name:
            raise ForbiddenError(
                "Domain-admins can perform operations on behalf of other users in the same domain only."
            )
        if not self.is_superadmin and owner.is_superadmin:
            raise ForbiddenError("Domain-admins cannot perform operations on behalf of super-admins.")
        return replace(owner, actor=Actor(self.user_id, self.email, self.access_key, self.is_superadmin))


OPERATOR = Principal(
    user_id=UUID(int=0),
    email="",
    username="operator",
    role=UserRole.SUPERADMIN,
    domain_name="",
    access_key="",
    resource_policy="",
    user_resource_policy="",
    rate_limit=0,
)
"""Who runs the manager's commands on its machine: may see everything, and has nothing."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a signature is checked against: the caller, and the secret key as Vault encrypted it."""

    principal: Principal
    secret_ciphertext: str
    keypair_is_active: bool
    user_status: UserStatus
    allowed_client_ip: tuple[str, ...] = ()
    """Networks in CIDR form from which the user may come; empty for any."""

    @property
    def is_usable(self) -> bool:
        """Whether keypair and user are active."""
        return self.keypair_is_active and self.user_status is UserStatus.ACTIVE

    def must_be_usable(self) -> None:
        """Raise AuthorizationFailedError unless keypair and user are active."""
        if self.user_status is UserStatus.BEFORE_VERIFICATION:
            raise AuthorizationFailedError("This account needs email verification.")
        if not self.is_usable:
            raise AuthorizationFailedError("Access key not found")

    def must_come_from(self, address: str | None) -> None:
        """Raise AuthorizationFailedError unless the user may come from this IP address."""
        if not self.allowed_client_ip:
            return
        try:
            client = ip_address(address or "")
        except ValueError as err:
            raise AuthorizationFailedError("Not allowed IP address") from err
        if not any(client in network for network in _networks(self.allowed_client_ip)):
            raise AuthorizationFailedError(f"'{address}' is not allowed IP address")


@dataclass(frozen=True, slots=True)
class Login:
    """What a password is checked against: its hash, when it was set, and what it opens."""

    credentials: Credentials
    password_hash: str
    password_changed_at: datetime

    def must_be_fresh(self, max_age: timedelta | None, now: datetime) -> None:
        """Raise PasswordExpiredError when the password is older than ``max_age``."""
        if max_age is not None and self.password_changed_at + max_age < now:
            raise PasswordExpiredError(f"Password expired on {self.password_changed_at + max_age}.")


@lru_cache(maxsize=1000)
def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """Return the networks; what is none lets nobody in."""
    found: list[IPv4Network | IPv6Network] = []
    for text in texts:
        with suppress(ValueError):
            found.append(ip_network(text, strict=False))
    return found


@dataclass(frozen=True, slots=True)
class Keypair:
    """An access key and its owner; the secret key is elsewhere."""

    access_key: str
    user_id: UUID
    email: str
    full_name: str
    role: UserRole
    domain_name: str
    secret_ciphertext: str
    is_active: bool
    is_admin: bool
    """As Backend.AI shows it. Nobody goes by it: rights come from the role of the user."""
    resource_policy: str
    rate_limit: int
    num_queries: int
    ssh_public_key: str | None
    created_at: datetime
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account."""

    id: UUID
    username: str
    email: str
    full_name: str
    description: str
    status: UserStatus
    status_info: str | None
    role: UserRole
    domain_name: str
    resource_policy: str
    need_password_change: bool
    main_access_key: str | None
    allowed_client_ip: tuple[str, ...] | None
    totp_activated: bool
    sudo_session_enabled: bool
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """A group of users inside a domain; sessions and folders belong to one."""

    id: UUID
    name: str
    domain_name: str
    description: str
    is_active: bool
    type: str
    created_at: datetime
    modified_at: datetime
    total_resource_slots: dict[str, str]
    allowed_vfolder_hosts: dict[str, list[str]]
    integration_id: str | None
    resource_policy: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A tenant."""

    name: str
    description: str
    is_active: bool
    created_at: datetime
    modified_at: datetime
    total_resource_slots: dict[str, str]
    allowed_vfolder_hosts: dict[str, list[str]]
    allowed_docker_registries: tuple[str, ...]
    integration_id: str | None
    scaling_groups: tuple[str, ...]
