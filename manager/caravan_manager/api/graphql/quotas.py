"""Keypairs' policies and presets of slots in GraphQL."""

from collections.abc import Callable
from typing import Any

from ariadne import ObjectType

from caravan_manager.api.graphql.base import Info, bind, nothing, outcome, payload
from caravan_manager.db.choice import Choice
from caravan_manager.quotas.model import KeypairPolicy
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


@queries.field("resource_preset")
async def resource_preset(_: object, info: Info, name: str | None = None) -> object:
    """Answer the first preset of that name."""
    return next((preset for preset in await info.context.quotas.all_presets() if preset.name == name), None)


@queries.field("resource_presets")
async def resource_presets(_: object, info: Info, **language: str | None) -> object:
    """Answer all presets, or those chosen by ``filter``."""
    choice = Choice.read(language.get("filter"), language.get("order"))
    return await info.context.quotas.all_presets(choice)


@mutations.field("create_keypair_resource_policy")
async def create_keypair_resource_policy(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
    """Make a policy."""
    asked = info.context
    made = asked.quotas.create_keypair_policy(asked.principal, name, props)
    return await outcome(info, made, "resource_policy")


@mutations.field("modify_keypair_resource_policy")
async def modify_keypair_resource_policy(_: object, info: Info, name: str, props: dict[str, Any]) -> object:
    """Change a policy; what is absent stays as it is."""
    return await outcome(info, info.context.quotas.change_keypair_policy(info.context.principal, name, props))


@mutations.field("delete_keypair_resource_policy")
async def delete_keypair_resource_policy(_: object, info: Info, name: str) -> object:
    """Delete a policy that no keypair has."""
    return await outcome(info, info.context.quotas.delete_keypair_policy(info.context.principal, name))


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

PRESET: dict[str, Callable[[Preset], object]] = {
    "id": lambda preset: preset.id,
    "name": lambda preset: preset.name,
    "resource_slots": lambda preset: preset.slots.to_json(),
    "shared_memory": lambda preset: preset.shared_memory,
    "scaling_group_name": lambda preset: preset.scaling_group,
}

BINDABLES = [
    queries,
    mutations,
    bind("KeyPairResourcePolicy", POLICY),
    bind("ResourcePreset", PRESET),
    payload("CreateKeyPairResourcePolicy", "resource_policy"),
    payload("ModifyKeyPairResourcePolicy"),
    payload("DeleteKeyPairResourcePolicy"),
]
