"""Consul: one server with ACLs, default-deny, and an agent on each machine that joined; their HTTP is on loopback."""

import json
from pathlib import Path

from caravan_deploy.api import Api
from caravan_deploy.layout import LOOPBACK, Layout
from caravan_deploy.processes import Daemon
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.credentials import Credentials
from caravan_deploy.servers.tokens import Tokens, write_secret

DATACENTER = "dc1"


def consul_api(layout: Layout, tokens: Tokens) -> Api:
    """Return Consul's API with the management token."""
    return Api("Consul", layout.ports.consul_http, {"X-Consul-Token": tokens.consul_management})


def consul_daemon(layout: Layout, program: Path) -> Daemon:
    command = [str(program), "agent", f"-config-file={layout.etc / 'consul.json'}"]
    return Daemon("consul", command, layout.run / "consul.pid", layout.logs / "consul.log")


def start_consul(layout: Layout, tokens: Tokens, program: Path) -> None:
    """Start Consul and wait until it has a leader and accepts the management token."""
    changed = write_secret(layout.etc / "consul.json", json.dumps(_configuration(layout, tokens), indent=2))
    daemon = consul_daemon(layout, program)
    daemon.restart(changed=changed)
    api = consul_api(layout, tokens)

    def ready() -> bool | None:
        daemon.must_run()
        return True if api.answers("/v1/acl/token/self") and api.call("GET", "/v1/status/leader") else None

    wait_for(f"Consul has no leader ({daemon.log})", ready, 30)


def start_consul_client(layout: Layout, credentials: Credentials, program: Path) -> None:
    """Start Consul's agent on a machine that joined, and wait until it has found the server."""
    changed = write_secret(layout.etc / "consul.json", json.dumps(_client_configuration(layout, credentials), indent=2))
    daemon = consul_daemon(layout, program)
    daemon.restart(changed=changed)
    api = Api("Consul", layout.ports.consul_http, {"X-Consul-Token": credentials.consul})

    def found() -> bool | None:
        daemon.must_run()
        return True if api.answers("/v1/acl/token/self") else None

    wait_for(f"Consul's agent does not reach the server {layout.server} ({daemon.log})", found, 60)


def _configuration(layout: Layout, tokens: Tokens) -> dict[str, object]:
    return _common(layout, {"initial_management": tokens.consul_management, "agent": tokens.consul_agent}) | {
        "server": True,
        "bootstrap_expect": 1,
        "performance": {"raft_multiplier": 1},
        "connect": {"enabled": False},
        "leave_on_terminate": False,
        **_wire(layout, tokens.consul_gossip),
    }


def _client_configuration(layout: Layout, credentials: Credentials) -> dict[str, object]:
    return _common(layout, {"agent": credentials.consul}) | {
        "server": False,
        "retry_join": [f"{layout.server}:{layout.ports.consul_serf}"],
        "retry_interval": "2s",
        # Who leaves in order is forgotten at once, and not looked for.
        "leave_on_terminate": True,
        **_wire(layout, credentials.gossip),
    }


def _wire(layout: Layout, gossip_key: str) -> dict[str, object]:
    """Return what keeps words between machines secret and strangers out; on loopback there are neither."""
    if not layout.is_open:
        return {}
    files = {"ca_file": layout.authority, "cert_file": layout.certificate, "key_file": layout.certificate}
    return {
        "encrypt": gossip_key,
        "tls": {
            "defaults": {name: str(path) for name, path in files.items()} | {"verify_outgoing": True},
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
        },
    }


def _common(layout: Layout, tokens: dict[str, str]) -> dict[str, object]:
    ports = layout.ports
    return {
        "datacenter": DATACENTER,
        "node_name": layout.node_name,
        "data_dir": str(layout.data / "consul"),
        "bind_addr": layout.address,
        "client_addr": LOOPBACK,
        "ports": {
            "http": ports.consul_http,
            "dns": ports.consul_dns,
            "server": ports.consul_server,
            "serf_lan": ports.consul_serf,
            "serf_wan": -1,
            "grpc": -1,
            "grpc_tls": -1,
        },
        "acl": {"enabled": True, "default_policy": "deny", "tokens": tokens},
        "limits": {"http_max_conns_per_client": 2000},
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
        "disable_update_check": True,
        "log_level": "INFO",
    }
