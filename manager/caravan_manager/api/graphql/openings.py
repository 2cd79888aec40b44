"""To whom scaling groups are open in GraphQL: mutations of one pattern open and close them."""

from collections.abc import Awaitable, Callable
from typing import cast
from uuid import UUID

from ariadne import ObjectType

from caravan_manager.api.graphql.base import Info, outcome, payload
from caravan_manager.nodes.model import Guest, GuestKind

mutations = ObjectType("Mutations")
Resolver = Callable[..., Awaitable[object]]


def _guest(kind: GuestKind, named: object) -> Guest:
    return Guest(kind, named if isinstance(named, UUID) else str(named))


def _groups(given: dict[str, object]) -> list[str] | None:
    """Return the scaling groups that a mutation names, its one or those of its list without nulls; None for all."""
    if "scaling_group" in given:
        return [str(given["scaling_group"])]
    several = cast("list[str | None] | None", given.get("scaling_groups"))
    return None if several is None else [name for name in several if name is not None]


def _opens(kind: GuestKind, argument: str) -> Resolver:
    async def resolve(_: object, info: Info, **given: object) -> object:
        """Let a guest use one scaling group or several."""
        asked, guest = info.context, _guest(kind, given[argument])
        return await outcome(info, asked.node_admin.open_to(asked.principal, guest, _groups(given) or []))

    return resolve


def _closes(kind: GuestKind, argument: str) -> Resolver:
    async def resolve(_: object, info: Info, **given: object) -> object:
        """Take one scaling group, several or all from a guest."""
        asked, guest = info.context, _guest(kind, given[argument])
        return await outcome(info, asked.node_admin.close_to(asked.principal, guest, _groups(given)))

    return resolve


_GUESTS = {
    "domain": (GuestKind.DOMAIN, "domain"),
    "user_group": (GuestKind.PROJECT, "user_group"),
    "keypair": (GuestKind.KEYPAIR, "access_key"),
}
for name, (kind, argument) in _GUESTS.items():
    for groups in ("scaling_group", "scaling_groups"):
        mutations.field(f"associate_{groups}_with_{name}")(_opens(kind, argument))
        mutations.field(f"disassociate_{groups}_with_{name}")(_closes(kind, argument))
mutations.field("disassociate_all_scaling_groups_with_domain")(_closes(*_GUESTS["domain"]))
mutations.field("disassociate_all_scaling_groups_with_group")(_closes(*_GUESTS["user_group"]))

_OUTCOMES = (
    *(
        f"{act}{groups}With{name}"
        for act in ("Associate", "Disassociate")
        for groups in ("ScalingGroup", "ScalingGroups")
        for name in ("Domain", "UserGroup", "KeyPair")
    ),
    "DisassociateAllScalingGroupsWithDomain",
    "DisassociateAllScalingGroupsWithGroup",
)

BINDABLES = [mutations, *(payload(name) for name in _OUTCOMES)]
