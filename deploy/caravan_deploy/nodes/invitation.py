"""The server's side: make a machine's credentials and hand them out once, or take them back."""

import hashlib
import json
import re
import ssl
import uuid
from dataclasses import asdict, replace

from caravan_deploy.errors import ApiError, SetupError
from caravan_deploy.layout import Layout
from caravan_deploy.nodes.token import JoinToken
from caravan_deploy.servers.access import APPROLE
from caravan_deploy.servers.consul import DATACENTER
from caravan_deploy.servers.credentials import Credentials
from caravan_deploy.servers.tokens import Tokens, accessor_of
from caravan_deploy.up import Servers

VALID_SECONDS = 3600
MACHINE = "node"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def invite(layout: Layout, servers: Servers, tokens: Tokens, node: str) -> str:
    """Return a join token for a machine of that name: good for one hour and one use.

    Credentials that a machine of the name had before are taken back. Raises SetupError while one is in the cluster.
    """
    _check_name(layout, node)
    if not layout.is_open:
        raise SetupError('no other machine reaches this one: `make down`, then `make up UP="--bind <its address>"`.')
    if any(known["Status"] == "ready" for known in _nodes(servers, node)):
        raise SetupError(f"the machine {node} is in the cluster already: `make leave` there, or choose another name.")
    _take_back(servers, node)
    credentials = _make(servers, tokens, node)
    authority = layout.authority.read_text(encoding="ascii")
    bundle = {
        "node": node,
        "cluster": layout.name,
        "ports": asdict(layout.ports),
        "network_pool": layout.network_pool,
        "credentials": asdict(credentials),
    }
    wrapping = replace(servers.vault, headers={**servers.vault.headers, "X-Vault-Wrap-TTL": str(VALID_SECONDS)})
    wrapped: str = wrapping.call("POST", "/v1/sys/wrapping/wrap", bundle)["wrap_info"]["token"]
    return JoinToken(layout.address, layout.ports.vault, fingerprint(authority), wrapped).text()


def expel(layout: Layout, servers: Servers, node: str) -> None:
    """Take a machine's credentials back, and forget it in Nomad and Consul. Harmless when there is no such machine."""
    _check_name(layout, node)
    _take_back(servers, node)
    for known in _nodes(servers, node):
        servers.nomad.call("POST", f"/v1/node/{known['ID']}/purge")
    servers.consul.call("PUT", "/v1/catalog/deregister", {"Datacenter": DATACENTER, "Node": node})


def fingerprint(certificate: str) -> str:
    """Return the SHA-256 of a certificate in PEM."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def _check_name(layout: Layout, node: str) -> None:
    if not _NAME.fullmatch(node) or node == layout.node_name:
        raise SetupError(f"{node!r} cannot be a machine's name: small letters, digits and '-', and not the server's.")


def _nodes(servers: Servers, node: str) -> list[dict[str, str]]:
    return [known for known in servers.nomad.call("GET", "/v1/nodes") if known["Name"] == node]


def _make(servers: Servers, tokens: Tokens, node: str) -> Credentials:
    """Make the machine's credentials; what is needed to take them back is kept in Vault."""
    role: str = servers.vault.call("GET", f"/v1/auth/{APPROLE}/role/{MACHINE}/role-id")["data"]["role_id"]
    metadata = {"metadata": json.dumps({"node": node})}
    login = servers.vault.call("POST", f"/v1/auth/{APPROLE}/role/{MACHINE}/secret-id", metadata)["data"]
    consul = str(uuid.uuid4())
    servers.consul.call(
        "PUT",
        "/v1/acl/token",
        {
            "AccessorID": accessor_of(consul),
            "SecretID": consul,
            "Description": f"Caravan: the machine {node}",
            "Policies": [{"Name": MACHINE}],
            "NodeIdentities": [{"NodeName": node, "Datacenter": DATACENTER}],
        },
    )
    kept = {"vault": login["secret_id_accessor"], "consul": accessor_of(consul)}
    servers.vault.call("POST", f"/v1/caravan/data/nodes/{node}", {"data": kept})
    return Credentials(role, login["secret_id"], consul, tokens.consul_gossip)


def _take_back(servers: Servers, node: str) -> None:
    found = servers.vault.find(f"/v1/caravan/data/nodes/{node}")
    if found is None:
        return
    kept: dict[str, str] = found["data"]["data"]
    try:
        accessor = {"secret_id_accessor": kept["vault"]}
        servers.vault.call("POST", f"/v1/auth/{APPROLE}/role/{MACHINE}/secret-id-accessor/destroy", accessor)
    except ApiError as error:
        if error.answered != 404:  # taken back before
            raise
    servers.consul.call("DELETE", f"/v1/acl/token/{kept['consul']}")
    servers.vault.call("DELETE", f"/v1/caravan/metadata/nodes/{node}")
