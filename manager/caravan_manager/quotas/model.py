"""Limits of slots and sessions as values, and what they leave. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from caravan_common.errors import InvalidParametersError, QuotaExceededError
from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionType
from caravan_manager.names import is_name


class TooManyContainersError(QuotaExceededError):
    """A session of so many containers may not be made."""


class PendingQuotaExceededError(QuotaExceededError):
    """So many sessions, or so much of slots, may not wait."""


class PolicyKind(StrEnum):
    """Whose things a resource policy bounds."""

    KEYPAIR = "keypair"
    USER = "user"
    PROJECT = "project"


class HolderKind(StrEnum):
    """Who has a quota. ``SYSTEM_KEYPAIR`` is a keypair with regard to how many system (SFTP) sessions it has."""

    KEYPAIR = "keypair"
    SYSTEM_KEYPAIR = "system-keypair"
    USER = "user"
    PROJECT = "project"
    DOMAIN = "domain"


Holder = tuple[HolderKind, str]
"""A quota's holder: its kind, and the access key, UUID or domain name."""


def is_counted(kind: HolderKind, type_: SessionType) -> bool:
    """Whether a session of a type is one of those whose number a holder's quota limits.

    A system session counts as one of the keypair's system sessions only; its slots count everywhere.
    """
    return (kind is HolderKind.SYSTEM_KEYPAIR) is (type_ is SessionType.SYSTEM)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose a session is."""

    access_key: str
    user: UUID
    project: UUID
    domain: str
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.access_key, self.user, self.project, self.domain)))

    def __hash__(self) -> int:
        return self._hash

    def holders(self, type_: SessionType) -> tuple[Holder, ...]:
        """Return whose quotas a session of this type counts against, in the order in which they are looked at."""
        system = ((HolderKind.SYSTEM_KEYPAIR, self.access_key),) if type_ is SessionType.SYSTEM else ()
        return (
            *system,
            (HolderKind.KEYPAIR, self.access_key),
            (HolderKind.USER, str(self.user)),
            (HolderKind.PROJECT, str(self.project)),
            (HolderKind.DOMAIN, self.domain),
        )


_INFINITE, _NOTHING = Decimal("Infinity"), Decimal(0)


BY_MODEL = "@"
"""Between a slot and a model of accelerators: ``cuda.shares@NVIDIA A100``. No slot's name has it."""
LONGEST_MODEL = 128


def by_model(slot: str, model: str) -> str:
    """Return the name under which what is had of a slot on devices of one model is counted."""
    return f"{slot}{BY_MODEL}{model}"


def slot_of(name: str) -> str:
    """Return the slot that a name with a model is about."""
    return name.partition(BY_MODEL)[0]


@dataclass(frozen=True, slots=True)
class SlotLimit:
    """The most of each slot. A slot that is absent is free, or with ``others_are_free`` False not to be had at all.

    ``models`` are limits beside these, of slots on devices of one model (:func:`by_model`); others are free.
    """

    slots: ResourceSlots
    others_are_free: bool = True
    models: ResourceSlots = field(default_factory=ResourceSlots)

    @classmethod
    def parse(cls, raw: Mapping[str, object] | None, default_for_unspecified: str = "UNLIMITED") -> "SlotLimit":
        """Read a policy's slots; None as an amount is an absent slot. Raises InvalidParametersError."""
        given = {name: amount for name, amount in (raw or {}).items() if amount is not None}
        models = {name: amount for name, amount in given.items() if BY_MODEL in name}
        return cls(
            ResourceSlots.parse({name: amount for name, amount in given.items() if name not in models}),
            others_are_free=default_for_unspecified == "UNLIMITED",
            models=ResourceSlots({name: _limit_of_model(name, amount) for name, amount in models.items()}),
        )

    def closed(self, wanted: ResourceSlots, used: Mapping[str, Decimal]) -> list[tuple[str, str]]:
        """Return of which models nothing is left for one who wants so much and could get all of it there.

        Each is the name of the limit and the model.
        """
        found: list[tuple[str, str]] = []
        for name, most in self.models.items():
            slot, _, model = name.partition(BY_MODEL)
            if (asked := wanted.get(slot)) and used.get(name, _NOTHING) + asked > most:
                found.append((name, model))
        return sorted(found)

    def raised(self, more: ResourceSlots) -> "SlotLimit":
        """Return the limit with so much more of slots, and of slots on devices of one model."""
        models = {name: amount + more.get(name, _NOTHING) for name, amount in self.models.items()}
        slots = {name: self.most(name) + amount for name, amount in more.items() if name not in models}
        return SlotLimit(ResourceSlots({**self.slots, **slots}), self.others_are_free, ResourceSlots(models))

    def to_json(self) -> dict[str, str]:
        """Return all limits by name."""
        return self.slots.to_json() | self.models.to_json()

    def excess(self, wanted: ResourceSlots) -> tuple[str, ...]:
        """Return the names of the slots of which ``wanted`` has more than the limit, in alphabetical order."""
        return tuple(sorted(name for name, amount in wanted.items() if amount > self.most(name)))

    def most(self, name: str) -> Decimal:
        """Return the most of one slot: infinity where it is free."""
        return self.slots.get(name, _INFINITE if self.others_are_free else _NOTHING)


def _limit_of_model(name: str, amount: object) -> Decimal:
    """Read a limit for one model. Raises InvalidParametersError."""
    slot, _, model = name.partition(BY_MODEL)
    if not is_name(model, LONGEST_MODEL):
        raise InvalidParametersError(f"{name!r} names no model of accelerators behind {BY_MODEL}")
    return ResourceSlots.parse({slot: amount})[slot]


NO_LIMIT = SlotLimit(ResourceSlots())


@dataclass(frozen=True, slots=True)
class Quota:
    """What one holder may have at a time; None means any number of sessions."""

    holder: Holder
    slots: SlotLimit = NO_LIMIT
    sessions: int | None = None


@dataclass(frozen=True, slots=True)
class KeypairPolicy:
    """What keypairs of one policy may have, as people see it; 0 sessions or seconds mean any number."""

    name: str
    created_at: datetime
    default_for_unspecified: str
    total_resource_slots: Mapping[str, object]
    max_session_lifetime: int
    max_concurrent_sessions: int
    max_concurrent_sftp_sessions: int
    max_containers_per_session: int
    max_pending_session_count: int | None
    max_pending_session_resource_slots: Mapping[str, object] | None
    idle_timeout: int
    allowed_vfolder_hosts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class UserPolicy:
    """What users of one policy may have, as people see it: 0 folders and -1 bytes mean any number."""

    name: str
    created_at: datetime
    max_vfolder_count: int
    max_quota_scope_size: int
    max_session_count_per_model_session: int
    max_customized_image_count: int


@dataclass(frozen=True, slots=True)
class ProjectPolicy:
    """What projects of one policy may have, as people see it: 0 folders, -1 bytes and -1 networks mean any number."""

    name: str
    created_at: datetime
    max_vfolder_count: int
    max_quota_scope_size: int
    max_network_count: int


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What a keypair may ask for and have waiting; None means no limit."""

    containers: int
    pending_sessions: int | None
    pending_slots: SlotLimit | None

    @property
    def limit_the_queue(self) -> bool:
        """Whether the waiting sessions must be counted at all."""
        return self.pending_sessions is not None or self.pending_slots is not None

    def check_containers(self, wanted: int) -> None:
        """Raise QuotaExceededError when a session of so many containers may not be made."""
        if wanted > self.containers:
            raise TooManyContainersError(f"You cannot create session with more than {self.containers} containers.")

    def check_queue(self, sessions: int, slots: ResourceSlots) -> None:
        """Raise QuotaExceededError when so many sessions with so many slots, the new one included, may not wait."""
        if self.pending_sessions is not None and sessions > self.pending_sessions:
            raise PendingQuotaExceededError(f"You cannot create more than {self.pending_sessions} pending session(s).")
        if self.pending_slots is not None and (excess := self.pending_slots.excess(slots)):
            raise PendingQuotaExceededError(
                "Your pending session quota is exceeded.", slots=list(excess), limit=self.pending_slots.slots.to_json()
            )
