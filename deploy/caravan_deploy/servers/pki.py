"""The cluster's certificate authority: Vault's PKI engine, with one role for each kind of certificate.

A role gives its own names only, so that who may ask for one can never stand for another.
"""

from caravan_deploy.api import Api
from caravan_deploy.layout import Layout
from caravan_deploy.servers.access import enable

MOUNT = "caravan-pki"
AUTHORITY = f"/v1/{MOUNT}/ca/pem"
"""Where everybody may read the authority's certificate."""
AUTHORITY_TTL = "87600h"
SERVER_NAMES = ["server.global.nomad", "server.dc1.consul", "vault.service.consul"]
NODE_NAMES = ["client.global.nomad", "client.dc1.consul"]
LEAF_TTL = "720h"
"""Thirty days: what asked for a certificate asks again before it ends."""

ROLES: dict[str, dict[str, object]] = {
    # Redis is reached at an address; only its own job may ask for certificates that name one.
    "redis": {"allowed_domains": ["caravan-redis.service.consul"], "allow_ip_sans": True, "client_flag": False},
    "caravan-agent": {"allowed_domains": ["caravan-agent.service.consul"], "client_flag": False},
    # Machines: Nomad and Consul tell a server from a client by these names.
    "server": {"allowed_domains": SERVER_NAMES, "allow_ip_sans": True},
    "node": {"allowed_domains": NODE_NAMES},
}
_COMMON: dict[str, object] = {
    "allow_bare_domains": True,
    "allow_subdomains": False,
    "allow_wildcard_certificates": False,
    "allow_localhost": False,
    "allow_ip_sans": False,
    "key_type": "ec",
    "key_bits": 256,
    "ttl": LEAF_TTL,
    "max_ttl": LEAF_TTL,
}


def make_authority(layout: Layout, vault: Api) -> None:
    """Make the authority the first time, and bring its roles up to date. Its key never leaves Vault."""
    enable(vault, "mounts", MOUNT, "pki", config={"max_lease_ttl": AUTHORITY_TTL})
    if vault.find(f"/v1/{MOUNT}/issuers?list=true") is None:
        authority = {"common_name": f"Caravan {layout.name}", "key_type": "ec", "key_bits": 256, "ttl": AUTHORITY_TTL}
        vault.call("POST", f"/v1/{MOUNT}/root/generate/internal", authority)
    for name, role in ROLES.items():
        vault.call("POST", f"/v1/{MOUNT}/roles/{name}", _COMMON | role)
    tidy = {"enabled": True, "interval_duration": "24h", "tidy_cert_store": True}
    vault.call("POST", f"/v1/{MOUNT}/config/auto-tidy", tidy)
