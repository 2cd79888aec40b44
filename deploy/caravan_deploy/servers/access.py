"""Who may do what: the files in `policies/` become policies, roles and bindings; repeating it changes nothing.

A file is named after the job whose tasks it is for, after a kind of machine, or, in `policies/consul`, after one of the
server's agents.
"""

from collections.abc import Mapping

from caravan_deploy.api import Api
from caravan_deploy.layout import Layout
from caravan_deploy.servers.tokens import Tokens, accessor_of

SESSIONS_NAMESPACE = "caravan"
PLATFORM_NAMESPACE = "default"
AUTH_METHOD = "nomad-workloads"
VAULT_LOGIN = "jwt-nomad"
APPROLE = "approle"
MACHINES = frozenset({"server", "node"})
"""Policies that are no job's: the server's, and those of machines that joined."""
KEYPAIRS_KEY = "caravan-keypairs"
OURS = "Caravan"


def _files(layout: Layout, program: str) -> dict[str, str]:
    folder = layout.checkout / "policies" / program
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.hcl"))}


def _jobs(layout: Layout, program: str, tokens: Tokens) -> list[str]:
    """Return the jobs that have a policy."""
    return sorted(_files(layout, program).keys() - agent_tokens(tokens).keys() - MACHINES)


def agent_tokens(tokens: Tokens) -> dict[str, str]:
    """Return the secret IDs of the agents' own tokens, by the name of their policy."""
    return {
        "agent": tokens.consul_agent,
        "nomad": tokens.consul_nomad,
        "vault": tokens.consul_vault,
    }


def apply_consul_policies(layout: Layout, api: Api, tokens: Tokens) -> None:
    """Write Consul's policies, the agents' tokens, and a role for the tasks of each platform job that has a file."""
    for name, rules in _files(layout, "consul").items():
        policy = {"Name": name, "Rules": rules, "Description": f"{OURS}: policies/consul/{name}.hcl"}
        _put_named(api, "policy", "policies", policy)
    for name, secret in agent_tokens(tokens).items():
        _put_consul_token(api, name, secret)
    for name in _jobs(layout, "consul", tokens):
        role = {"Name": name, "Description": f"{OURS}: tasks of the job {name}", "Policies": [{"Name": name}]}
        _put_named(api, "role", "roles", role)


def _put_named(api: Api, kind: str, kinds: str, thing: Mapping[str, object]) -> None:
    """Create or change a policy or a role by its name; Consul gives it an ID of its own."""
    held = {known["Name"]: known["ID"] for known in api.call("GET", f"/v1/acl/{kinds}")}
    known = held.get(thing["Name"])
    api.call("PUT", f"/v1/acl/{kind}/{known}" if known else f"/v1/acl/{kind}", thing)


def _put_consul_token(api: Api, name: str, secret: str) -> None:
    accessor = accessor_of(secret)
    token = {"AccessorID": accessor, "Description": f"{OURS}: {name}", "Policies": [{"Name": name}]}
    if accessor in {held["AccessorID"] for held in api.call("GET", "/v1/acl/tokens")}:
        api.call("PUT", f"/v1/acl/token/{accessor}", token)
    else:
        api.call("PUT", "/v1/acl/token", token | {"SecretID": secret})


def apply_consul_login(layout: Layout, api: Api, tokens: Tokens) -> None:
    """Let platform jobs log in to Consul with Nomad's identities: services as themselves, tasks by job."""
    method = {
        "Name": AUTH_METHOD,
        "Type": "jwt",
        "Description": f"{OURS}: workload identities of Nomad",
        "Config": {
            "JWKSURL": _keys_url(layout),
            "JWTSupportedAlgs": ["RS256"],
            "BoundAudiences": ["consul.io"],
            "ClaimMappings": {
                "nomad_namespace": "nomad_namespace",
                "nomad_job_id": "nomad_job_id",
                "nomad_task": "nomad_task",
                "nomad_service": "nomad_service",
            },
        },
    }
    methods = {known["Name"] for known in api.call("GET", "/v1/acl/auth-methods")}
    path = f"/v1/acl/auth-method/{AUTH_METHOD}" if AUTH_METHOD in methods else "/v1/acl/auth-method"
    api.call("PUT", path, method)
    rules = api.call("GET", f"/v1/acl/binding-rules?authmethod={AUTH_METHOD}")
    held = {rule["Description"]: rule["ID"] for rule in rules}
    for rule in _binding_rules(layout, tokens):
        known = held.get(rule["Description"])
        api.call("PUT", f"/v1/acl/binding-rule/{known}" if known else "/v1/acl/binding-rule", rule)


def _binding_rules(layout: Layout, tokens: Tokens) -> list[dict[str, str]]:
    """Return one rule for the services of platform jobs, and one for the tasks of each job that has a policy."""
    in_platform = f'value.nomad_namespace == "{PLATFORM_NAMESPACE}"'
    services = {
        "AuthMethod": AUTH_METHOD,
        "Description": f"{OURS}: services of platform jobs",
        "BindType": "service",
        "BindName": "${value.nomad_service}",
        "Selector": f'"nomad_service" in value and {in_platform}',
    }
    return [services] + [
        {
            "AuthMethod": AUTH_METHOD,
            "Description": f"{OURS}: tasks of the job {job}",
            "BindType": "role",
            "BindName": job,
            "Selector": f'"nomad_service" not in value and {in_platform} and value.nomad_job_id == "{job}"',
        }
        for job in _jobs(layout, "consul", tokens)
    ]


def apply_nomad_policies(layout: Layout, api: Api) -> None:
    """Make the sessions' namespace, and bind each policy to the platform job of its name."""
    namespace = {"Name": SESSIONS_NAMESPACE, "Description": f"{OURS}: one job a session, made by caravan-manager"}
    api.call("POST", f"/v1/namespace/{SESSIONS_NAMESPACE}", namespace)
    for job, rules in _files(layout, "nomad").items():
        policy = {
            "Name": job,
            "Description": f"{OURS}: policies/nomad/{job}.hcl",
            "Rules": rules,
            "JobACL": {"Namespace": PLATFORM_NAMESPACE, "JobID": job},
        }
        api.call("POST", f"/v1/acl/policy/{job}", policy)


def apply_vault_policies(layout: Layout, api: Api) -> None:
    """Write Vault's policies and one login role for each, bound to the platform job of its name."""
    enable(api, "auth", VAULT_LOGIN, "jwt")
    config = {"jwks_url": _keys_url(layout), "jwt_supported_algs": ["RS256", "EdDSA"]}
    api.call("POST", f"/v1/auth/{VAULT_LOGIN}/config", config)
    for name, rules in _files(layout, "vault").items():
        api.call("PUT", f"/v1/sys/policies/acl/{name}", {"policy": rules})
        if name not in MACHINES:
            api.call("POST", f"/v1/auth/{VAULT_LOGIN}/role/{name}", _vault_role(name))


def let_machines_log_in(layout: Layout, api: Api) -> None:
    """Make the logins of the server's and the nodes' Vault agents; their tokens last minutes, and are not renewed."""
    enable(api, "auth", APPROLE, "approle")
    files = _files(layout, "vault")
    for machine in sorted(MACHINES):
        api.call("PUT", f"/v1/sys/policies/acl/{machine}", {"policy": files[machine]})
        role = {"token_policies": [machine], "token_type": "batch", "token_ttl": "20m", "token_max_ttl": "20m"}
        api.call("POST", f"/v1/auth/{APPROLE}/role/{machine}", role)


def enable_secret_engines(api: Api) -> None:
    """Mount KV v2 at `caravan/` and Transit with the key for keypairs' secrets."""
    enable(api, "mounts", "caravan", "kv", options={"version": "2"})
    enable(api, "mounts", "transit", "transit")
    api.call("POST", f"/v1/transit/keys/{KEYPAIRS_KEY}", {"type": "aes256-gcm96"})


def _vault_role(job: str) -> dict[str, object]:
    return {
        "role_type": "jwt",
        "bound_audiences": ["vault.io"],
        "bound_claims": {"nomad_namespace": PLATFORM_NAMESPACE, "nomad_job_id": job},
        "user_claim": "/nomad_job_id",
        "user_claim_json_pointer": True,
        "claim_mappings": {
            "nomad_namespace": "nomad_namespace",
            "nomad_job_id": "nomad_job_id",
            "nomad_task": "nomad_task",
        },
        "token_type": "service",
        "token_policies": [job],
        "token_period": "30m",
        "token_explicit_max_ttl": 0,
    }


def enable(api: Api, kind: str, path: str, engine: str, **more: object) -> None:
    """Mount an engine of Vault at ``path`` unless it is there; ``kind`` is ``mounts`` or ``auth``."""
    if f"{path}/" not in api.call("GET", f"/v1/sys/{kind}")["data"]:
        api.call("POST", f"/v1/sys/{kind}/{path}", {"type": engine, "description": OURS, **more})


def _keys_url(layout: Layout) -> str:
    return f"{layout.url(layout.ports.nomad_http)}/.well-known/jwks.json"
