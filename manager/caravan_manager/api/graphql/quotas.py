"""Resource policies and presets of slots in GraphQL."""

from collections.abc import Awaitable, Callable
from typing import Any

from ariadne import ObjectType

from caravan_manager.api.graphql.base import Info, bind, nothing, outcome, payload
from caravan_manager.db.choice import Choice
from caravan_manager.quotas.model import KeypairPolicy, PolicyKind, ProjectPolicy, UserPolicy
from caravan_manager.quotas.presets import Preset

queries = ObjectType("Queries")
mutations = ObjectType("Mutations")


@queries.field("keypair_resource_policy")
async def keypair_resource_policy(_: object, info: Info, name: str | None = None) -> object:
    """Answer the policy of that name, or of the caller's keypair, if the caller may see it."""
    asked = info.context
    found = await asked.quotas.keypair_policies(asked.principal, name or asked.principal.resource_policy)
    return next(iter(found), None)


@queries.field("keypair_resource_policies")
async def keypair_resource_policies(_: object, info: Info) -> object:
    """Answer the policies that the caller may see."""
    return await info.context.quotas.keypair_policies(info.context.principal)


@queries.field("user_resource_policy")
async def user_resource_policy(_: object, info: Info, name: str | None = None) -> object:
    """Answer the policy of that name, or the caller's, if the caller may see it."""
    asked = info.context
    found = await asked.quotas.user_policies(asked.principal, name or asked.principal.user_resource_policy)
    return next(iter(found), None)


@queries.field("user_resource_policies")
async def user_resource_policies(_: object, info: Info) -> object:
    """Answer the policies of users that the caller may see."""
    return await info.context.quotas.user_policies(info.context.principal)


@queries.field("project_resource_policy")
async def project_resource_policy(_: object, info: Info, name: str) -> object:
    """Answer the policy of that name, if the caller may see it."""
    return next(iter(await info.context.quotas.project_policies(info.context.principal, name)), None)


@queries.field("project_resource_policies")
async def project_resource_policies(_: object, info: Info) -> object:
    """Answer the policies of projects that the caller may see."""
    return await info.context.quotas.project_policies(info.context.principal)


@queries.field("resource_preset")
async def resource_preset(_: object, info: Info, name: str | None = None) -> object:
    """Answer the first preset of that name."""
    return next((preset for preset in await info.context.quotas.all_presets() if preset.name == name), None)


@queries.field("resource_presets")
async def resource_presets(_: object, info: Info, **language: str | None) -> object:
    """Answer all presets, or those chosen by ``filter``."""
    choice = Choice.read(language.get("filter"), language.get("order"))
    return await info.context.quotas.all_presets(choice)


Resolver = Callable[..., Awaitable[object]]


def _creates(kind: PolicyKind) -> Resolver:
    async def resolve(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
        """Make a policy."""
        made = info.context.quotas.create_policy(info.context.principal, kind, name, props)
        return await outcome(info, made, "resource_policy")

    return resolve


def _modifies(kind: PolicyKind) -> Resolver:
    async def resolve(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
        """Change a policy; what is absent stays as it is."""
        return await outcome(info, info.context.quotas.change_policy(info.context.principal, kind, name, props))

    return resolve


def _deletes(kind: PolicyKind) -> Resolver:
    async def resolve(_: object, info: Info, name: str) -> object:
        """Delete a policy that nobody has."""
        return await outcome(info, info.context.quotas.delete_policy(info.context.principal, kind, name))

    return resolve


for _kind in PolicyKind:
    mutations.field(f"create_{_kind.value}_resource_policy")(_creates(_kind))
    mutations.field(f"modify_{_kind.value}_resource_policy")(_modifies(_kind))
    mutations.field(f"delete_{_kind.value}_resource_policy")(_deletes(_kind))


POLICY: dict[str, Callable[[KeypairPolicy], object]] = {
    "name": lambda policy: policy.name,
    "created_at": lambda policy: policy.created_at,
    "default_for_unspecified": lambda policy: policy.default_for_unspecified,
    "total_resource_slots": lambda policy: policy.total_resource_slots,
    "max_session_lifetime": lambda policy: policy.max_session_lifetime,
    "max_concurrent_sessions": lambda policy: policy.max_concurrent_sessions,
    "max_containers_per_session": lambda policy: policy.max_containers_per_session,
    "idle_timeout": lambda policy: policy.idle_timeout,
    "allowed_vfolder_hosts": lambda policy: policy.allowed_vfolder_hosts,
    "max_vfolder_count": nothing,
    "max_vfolder_size": nothing,
    "max_quota_scope_size": nothing,
    "max_concurrent_sftp_sessions": lambda policy: policy.max_concurrent_sftp_sessions,
    "max_pending_session_count": lambda policy: policy.max_pending_session_count,
    "max_pending_session_resource_slots": lambda policy: policy.max_pending_session_resource_slots,
}

USER_POLICY: dict[str, Callable[[UserPolicy], object]] = {
    "id": lambda policy: f"UserResourcePolicy:{policy.name}",
    "name": lambda policy: policy.name,
    "created_at": lambda policy: policy.created_at,
    "max_vfolder_count": lambda policy: policy.max_vfolder_count,
    "max_quota_scope_size": lambda policy: policy.max_quota_scope_size,
    "max_vfolder_size": nothing,
    "max_session_count_per_model_session": lambda policy: policy.max_session_count_per_model_session,
    "max_customized_image_count": lambda policy: policy.max_customized_image_count,
}

PROJECT_POLICY: dict[str, Callable[[ProjectPolicy], object]] = {
    "id": lambda policy: f"ProjectResourcePolicy:{policy.name}",
    "name": lambda policy: policy.name,
    "created_at": lambda policy: policy.created_at,
    "max_vfolder_count": lambda policy: policy.max_vfolder_count,
    "max_quota_scope_size": lambda policy: policy.max_quota_scope_size,
    "max_vfolder_size": nothing,
    "max_network_count": lambda policy: policy.max_network_count,
}

PRESET: dict[str, Callable[[Preset], object]] = {
    "id": lambda preset: preset.id,
    "name": lambda preset: preset.name,
    "resource_slots": lambda preset: preset.slots.to_json(),
    "shared_memory": lambda preset: preset.shared_memory,
    "scaling_group_name": lambda preset: preset.scaling_group,
}

_NAMES = ("KeyPair", "User", "Project")

BINDABLES = [
    queries,
    mutations,
    bind("KeyPairResourcePolicy", POLICY),
    bind("UserResourcePolicy", USER_POLICY),
    bind("ProjectResourcePolicy", PROJECT_POLICY),
    bind("ResourcePreset", PRESET),
    *(payload(f"Create{name}ResourcePolicy", "resource_policy") for name in _NAMES),
    *(payload(f"{act}{name}ResourcePolicy") for act in ("Modify", "Delete") for name in _NAMES),
]
